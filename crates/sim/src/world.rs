//! A demand and a cluster in virtual time.
//!
//! At one moment the cluster's events come first, then all due requests together. The live server
//! also steps events up to its clock before it submits arrivals.

use weir_cluster::{Cluster, TimingError};
use weir_model::{Nanos, Signals};
use weir_workload::SessionSource;

use crate::accounting::{Accounting, Recorder};
use crate::config::WorldConfig;

#[derive(Debug, thiserror::Error)]
pub enum SimError<E> {
    #[error(transparent)]
    Timing(#[from] TimingError),
    #[error("recording failed: {0}")]
    Record(E),
    #[error(
        "the workload has no end and the level has neither a duration nor a request limit; \
         set load.duration or load.max_requests"
    )]
    Endless,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Of the last event. With a duration: when no request of the measured set is in flight.
    pub end: Nanos,
    pub signals: Signals,
    pub issued: u64,
    /// Of the measured set.
    pub unfinished: u64,
    pub passes: u64,
    /// Requests in flight over time, in request-nanoseconds.
    pub flow_integral: u128,
    /// Of all requests, cut off at the end. Equals the integral unless a request was lost.
    pub residence_sum: u128,
}

pub struct World<'a, S, R: Recorder> {
    config: WorldConfig,
    cluster: Cluster,
    accounting: Accounting<'a, S, R>,
    now: Nanos,
}

impl<'a, S: SessionSource, R: Recorder> World<'a, S, R> {
    pub fn new(
        config: WorldConfig,
        source: &'a mut S,
        recorder: &'a mut R,
    ) -> Result<Self, SimError<R::Error>> {
        let cluster = Cluster::new(config.cluster())?;
        let accounting = Accounting::new(&config, source, recorder);
        Ok(Self { config, cluster, accounting, now: Nanos::ZERO })
    }

    /// `go_on` periodically gets the virtual time and the requests issued. If it returns false, the
    /// run stops and returns `None`.
    pub fn run(
        mut self,
        mut go_on: impl FnMut(Nanos, u64) -> bool,
    ) -> Result<Option<Summary>, SimError<R::Error>> {
        if self.config.duration.is_none() && !self.accounting.demand.is_finite() {
            return Err(SimError::Endless);
        }
        let mut moments = 0u64;
        let window = self.config.window();
        let follow_end = self.config.duration.map(|end| end + self.config.drain);
        while let Some(at) = self.next_at() {
            if at >= window.end {
                self.accounting.counters.close(&mut self.cluster);
                if !self.accounting.has_measured() || follow_end.is_some_and(|end| at >= end) {
                    break;
                }
            }
            if self.accounting.demand.is_served() {
                // A cell does not wait for stores.
                break;
            }
            if !self.accounting.counters.is_open() && at >= self.config.warmup {
                self.accounting.counters.open(&mut self.cluster);
            }
            self.now = at;
            self.handle_moment(at)?;
            moments += 1;
            if moments.is_multiple_of(4096) && !go_on(at, self.accounting.demand.issued()) {
                return Ok(None);
            }
        }
        self.finish().map(Some)
    }

    fn next_at(&self) -> Option<Nanos> {
        let (event, due) = (self.cluster.next_at(), self.accounting.demand.next_at());
        event.into_iter().chain(due).min()
    }

    /// The cluster's events of this moment, then due requests. Events that these cause at the same
    /// moment are left for the next call.
    fn handle_moment(&mut self, at: Nanos) -> Result<(), SimError<R::Error>> {
        while self.cluster.next_at() == Some(at) && !self.accounting.demand.is_served() {
            self.cluster.step(&mut self.accounting);
            if let Some(failure) = self.accounting.take_failure() {
                return Err(SimError::Record(failure));
            }
        }
        while let Some(due) = self.accounting.demand.pop(at) {
            self.accounting.submit(due, &mut self.cluster);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Summary, SimError<R::Error>> {
        if let Some(end) = self.config.duration {
            let last = if self.accounting.has_measured() { end + self.config.drain } else { end };
            self.now = self.now.max(last);
        } else {
            let left = self.accounting.demand.in_flight();
            assert_eq!(left, 0, "a request has no wake-up");
            debug_assert!(self.cluster.is_idle());
        }
        let flow = self.accounting.close(self.now, self.cluster.in_flight());
        let flow = flow.map_err(SimError::Record)?;
        Ok(Summary {
            end: self.now,
            signals: self.accounting.counters.signals(&mut self.cluster),
            issued: self.accounting.demand.issued(),
            unfinished: flow.unfinished,
            passes: self.cluster.replicas().map(|replica| replica.counters().passes).sum(),
            flow_integral: flow.integral,
            residence_sum: flow.residence_sum,
        })
    }
}
