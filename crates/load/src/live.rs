//! What a terminal can show while load is generated, and the way to stop it.
//!
//! Workers touch atomics once per turn or request; the distributions belong to the thread that
//! takes the rows, so that nobody on the timed path waits for a lock.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use weir_model::{Nanos, Outcome, RequestRow, certificate::Spread};

use crate::clock::Clock;
use crate::poll::Waker;
use crate::spread::SpreadTally;

#[derive(Debug, Default)]
struct Seen {
    first_token: SpreadTally,
    gap: SpreadTally,
    done: u64,
    failed: u64,
    unfinished: u64,
    output_tokens: u64,
    cached_tokens: u64,
    last_error: Option<String>,
}

/// Shared between a run and whoever watches it.
#[derive(Debug, Default)]
pub struct Live {
    is_stopped: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
    clock: Mutex<Option<Clock>>,
    issued: AtomicU64,
    in_flight: AtomicU32,
    /// Requests of the measured set under way, and workers that may still send some: while there
    /// are any the load goes on.
    followed: AtomicU64,
    events: AtomicU64,
    busy: Mutex<Vec<u32>>,
    seen: Mutex<Seen>,
}

/// The state of a run at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveSnapshot {
    /// Since the start of the cell; zero before it.
    pub elapsed: Nanos,
    /// Requests sent or about to be.
    pub issued: u64,
    /// Of them, without an end.
    pub in_flight: u32,
    pub done: u64,
    pub failed: u64,
    /// Given up at the end.
    pub unfinished: u64,
    /// Events that arrived, whatever became of their requests.
    pub events: u64,
    /// Tokens of answered requests.
    pub output_tokens: u64,
    /// Prompt tokens of answered requests that a cache served.
    pub cached_tokens: u64,
    /// Time to first token of answered requests, from the due time.
    pub first_token: Spread,
    /// Gaps between events of answered requests.
    pub gap: Spread,
    /// Processor time / wall time of each worker, lately.
    pub busy: Vec<f64>,
    pub last_error: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is shown may be half updated if its writer panicked; the run ends then anyway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for an end: nothing more is asked, and what is in flight is given up.
    pub fn stop(&self) {
        self.is_stopped.store(true, Relaxed);
        lock(&self.wakers).iter().for_each(Waker::wake);
    }

    /// Whether an end was asked for.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Relaxed)
    }

    pub(crate) fn begin(&self, clock: Clock, workers: usize) {
        *lock(&self.clock) = Some(clock);
        *lock(&self.busy) = vec![0; workers];
        self.followed.store(workers as u64, Relaxed);
    }

    /// Registers a worker. It looks at [`Live::is_stopped`] after it, so no call is lost.
    pub(crate) fn join(&self, waker: Waker) {
        lock(&self.wakers).push(waker);
    }

    pub(crate) fn end(&self) {
        lock(&self.wakers).clear();
    }

    pub(crate) fn issue(&self) {
        self.issued.fetch_add(1, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub(crate) fn land(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// A request of the measured set goes out.
    pub(crate) fn follow(&self) {
        self.followed.fetch_add(1, Relaxed);
    }

    /// A request of the measured set has ended, or a worker has sent all of its own. The last one
    /// wakes those that keep the load up.
    pub(crate) fn unfollow(&self) {
        if self.followed.fetch_sub(1, Relaxed) == 1 {
            lock(&self.wakers).iter().for_each(Waker::wake);
        }
    }

    pub(crate) fn is_followed(&self) -> bool {
        self.followed.load(Relaxed) > 0
    }

    pub(crate) fn add_events(&self, events: u64) {
        self.events.fetch_add(events, Relaxed);
    }

    pub(crate) fn set_busy(&self, worker: usize, share: f64) {
        if let Some(busy) = lock(&self.busy).get_mut(worker) {
            *busy = (share * 1000.0) as u32;
        }
    }

    /// Called by the thread that takes the rows.
    pub(crate) fn see(&self, row: &RequestRow) {
        let mut seen = lock(&self.seen);
        match row.outcome {
            Outcome::Done => {
                seen.done += 1;
                seen.output_tokens += u64::from(row.output_tokens.get());
                seen.cached_tokens += u64::from(row.gpu_hit_tokens().get());
                if let Some(first) = row.first_token {
                    seen.first_token.record(first.saturating_sub(row.due));
                }
                for gap in &row.chunk_gaps {
                    seen.gap.record(*gap);
                }
            }
            Outcome::Unfinished => seen.unfinished += 1,
            Outcome::Failed => {
                seen.failed += 1;
                seen.last_error.clone_from(&row.error);
            }
        }
    }

    /// Time since the load began; nothing before it has.
    pub fn elapsed(&self) -> Option<Nanos> {
        lock(&self.clock).map(Clock::now)
    }

    pub fn snapshot(&self) -> LiveSnapshot {
        let elapsed = lock(&self.clock).map_or(Nanos::ZERO, Clock::now);
        let busy = lock(&self.busy).iter().map(|share| f64::from(*share) / 1000.0).collect();
        let seen = lock(&self.seen);
        LiveSnapshot {
            elapsed,
            issued: self.issued.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            done: seen.done,
            failed: seen.failed,
            unfinished: seen.unfinished,
            events: self.events.load(Relaxed),
            output_tokens: seen.output_tokens,
            cached_tokens: seen.cached_tokens,
            first_token: seen.first_token.spread(),
            gap: seen.gap.spread(),
            busy,
            last_error: seen.last_error.clone(),
        }
    }
}
