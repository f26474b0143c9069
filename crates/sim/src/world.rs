//! The world: a demand and a cluster in virtual time.
//!
//! Loop: go to the next moment with an event and handle it. At one moment the cluster's events come
//! first, then all due requests arrive together. The live server does the same: it steps events up
//! to its clock, then submits the requests that have arrived.

use weir_cluster::{Cluster, TimingError};
use weir_model::{Nanos, Signals};
use weir_workload::SessionSource;

use crate::accounting::{Accounting, Recorder};
use crate::config::WorldConfig;

/// Why a cell could not be simulated.
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
    /// Time of the last event; with a duration, when no request of the measured set is in flight.
    pub end: Nanos,
    /// The signals of the window and the measured set.
    pub signals: Signals,
    pub issued: u64,
    /// Requests of the measured set in flight at the end.
    pub unfinished: u64,
    pub passes: u64,
    /// Integral of requests in flight over time, request-nanoseconds.
    pub flow_integral: u128,
    /// Sum of the residence times of all requests, cut off at the end: equal to the integral, or
    /// a request was lost.
    pub residence_sum: u128,
}

/// One cell.
pub struct World<'a, S, R: Recorder> {
    config: WorldConfig,
    cluster: Cluster,
    accounting: Accounting<'a, S, R>,
    now: Nanos,
}

impl<'a, S: SessionSource, R: Recorder> World<'a, S, R> {
    /// A world at time zero.
    pub fn new(
        config: WorldConfig,
        source: &'a mut S,
        recorder: &'a mut R,
    ) -> Result<Self, SimError<R::Error>> {
        let cluster = Cluster::new(config.cluster())?;
        let accounting = Accounting::new(&config, source, recorder);
        Ok(Self { config, cluster, accounting, now: Nanos::ZERO })
    }

    /// Runs to the end of the cell. `go_on` gets the virtual time and the requests issued, now and
    /// then; when it returns false, the run stops and returns `None`.
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
                self.accounting.counters.close(&self.cluster);
                if !self.accounting.has_measured() || follow_end.is_some_and(|end| at >= end) {
                    break;
                }
            }
            if self.accounting.demand.is_served() {
                // Only stores are in flight; a cell does not wait for them.
                break;
            }
            if !self.accounting.counters.is_open() && at >= self.config.warmup {
                self.accounting.counters.open(&self.cluster);
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

    /// Handles the cluster's events of this moment, then submits what is due. Events that this
    /// causes at the same moment are left for the next call.
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
            signals: self.accounting.counters.signals(&self.cluster),
            issued: self.accounting.demand.issued(),
            unfinished: flow.unfinished,
            passes: self.cluster.replicas().map(|replica| replica.counters().passes).sum(),
            flow_integral: flow.integral,
            residence_sum: flow.residence_sum,
        })
    }
}
