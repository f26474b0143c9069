//! The world: a demand and a cluster in virtual time.
//!
//! Loop: go to the next moment at which something happens, and let it happen. At one moment the
//! cluster goes first, and then all that is due arrives together. A live driver does the same: it
//! steps what its clock has passed, and then takes in the requests that have come.

use weir_cluster::{Cluster, TimingError};
use weir_model::{Nanos, Signals};
use weir_workload::SessionSource;

use crate::books::{Books, Recorder};
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

/// What the world saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// When the last thing happened; with a duration, when nothing of the measured set was under
    /// way any more.
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

/// The world. Make one per cell.
pub struct World<'a, S, R: Recorder> {
    config: WorldConfig,
    cluster: Cluster,
    books: Books<'a, S, R>,
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
        let books = Books::new(&config, source, recorder);
        Ok(Self { config, cluster, books, now: Nanos::ZERO })
    }

    /// Runs to the end of the cell. `go_on` is told the virtual time and the requests issued now
    /// and then; when it answers false, the run stops and gives nothing.
    pub fn run(
        mut self,
        mut go_on: impl FnMut(Nanos, u64) -> bool,
    ) -> Result<Option<Summary>, SimError<R::Error>> {
        if self.config.duration.is_none() && !self.books.demand.is_finite() {
            return Err(SimError::Endless);
        }
        let mut moments = 0u64;
        let window = self.config.window();
        let follow_end = self.config.duration.map(|end| end + self.config.drain);
        while let Some(at) = self.next_at() {
            if at >= window.end {
                // What was due before is in flight: the cell's last moment has all happened.
                self.books.tally.close(&self.cluster);
                if !self.books.has_followed() || follow_end.is_some_and(|end| at >= end) {
                    break;
                }
            }
            if self.books.demand.is_served() {
                // Only stores are under way; a cell does not last longer for them.
                break;
            }
            if !self.books.tally.is_open() && at >= self.config.warmup {
                self.books.tally.open(&self.cluster);
            }
            self.now = at;
            self.let_happen(at)?;
            moments += 1;
            if moments.is_multiple_of(4096) && !go_on(at, self.books.demand.issued()) {
                return Ok(None);
            }
        }
        self.finish().map(Some)
    }

    /// When something happens next.
    fn next_at(&self) -> Option<Nanos> {
        let (event, due) = (self.cluster.next_at(), self.books.demand.next_at());
        event.into_iter().chain(due).min()
    }

    /// What happens in the cluster at this moment, then what is due. What that leads to at once is
    /// left for the next call.
    fn let_happen(&mut self, at: Nanos) -> Result<(), SimError<R::Error>> {
        while self.cluster.next_at() == Some(at) && !self.books.demand.is_served() {
            self.cluster.step(&mut self.books);
            if let Some(failure) = self.books.take_failure() {
                return Err(SimError::Record(failure));
            }
        }
        while let Some(due) = self.books.demand.pop(at) {
            self.books.depart(due, &mut self.cluster);
        }
        Ok(())
    }

    /// Records what is in flight, and sums up.
    fn finish(mut self) -> Result<Summary, SimError<R::Error>> {
        if let Some(end) = self.config.duration {
            let last = if self.books.has_followed() { end + self.config.drain } else { end };
            self.now = self.now.max(last);
        } else {
            let left = self.books.demand.in_flight();
            assert_eq!(left, 0, "a request was left without a wake-up");
            debug_assert!(self.cluster.is_idle());
        }
        let flow = self.books.close(self.now, self.cluster.in_flight());
        let flow = flow.map_err(SimError::Record)?;
        Ok(Summary {
            end: self.now,
            signals: self.books.tally.signals(&self.cluster),
            issued: self.books.demand.issued(),
            unfinished: flow.unfinished,
            passes: self.cluster.replicas().map(|replica| replica.counters().passes).sum(),
            flow_integral: flow.integral,
            residence_sum: flow.residence_sum,
        })
    }
}
