//! Progress of a run for a terminal, and its abort.
//!
//! Workers update atomics once per turn or request. The thread that takes the rows owns the
//! distributions, so no worker waits for a lock.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use weir_model::{Nanos, Outcome, RequestRow, certificate::Spread};

use crate::clock::Clock;
use crate::poll::Waker;
use crate::spread::SpreadTally;

#[derive(Debug, Default)]
struct RowTotals {
    first_token: SpreadTally,
    gap: SpreadTally,
    done: u64,
    failed: u64,
    unfinished: u64,
    output_tokens: u64,
    cached_tokens: u64,
    last_error: Option<String>,
}

#[derive(Debug, Default)]
pub struct Live {
    is_aborted: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
    clock: Mutex<Option<Clock>>,
    issued: AtomicU64,
    in_flight: AtomicU32,
    /// Requests of the measured set in flight, plus workers that may still send some. The load ends
    /// at zero.
    measured: AtomicU64,
    events: AtomicU64,
    busy: Mutex<Vec<u32>>,
    totals: Mutex<RowTotals>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LiveSnapshot {
    /// Since the start of the cell; zero before.
    pub elapsed: Nanos,
    /// Sent or about to be sent.
    pub issued: u64,
    pub in_flight: u32,
    pub done: u64,
    pub failed: u64,
    /// Aborted at the end.
    pub unfinished: u64,
    /// Includes those of failed requests.
    pub events: u64,
    /// Of answered requests.
    pub output_tokens: u64,
    /// Prompt tokens from a cache, of answered requests.
    pub cached_tokens: u64,
    /// From the due time, of answered requests.
    pub first_token: Spread,
    /// Between events of answered requests.
    pub gap: Spread,
    /// Recent CPU time / wall time per worker.
    pub busy: Vec<f64>,
    pub last_error: Option<String>,
}

impl Live {
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends no more requests and aborts those in flight.
    pub fn abort(&self) {
        self.is_aborted.store(true, Relaxed);
        self.wakers.lock().iter().for_each(Waker::wake);
    }

    pub fn is_aborted(&self) -> bool {
        self.is_aborted.load(Relaxed)
    }

    pub(crate) fn begin(&self, clock: Clock, workers: usize) {
        *self.clock.lock() = Some(clock);
        *self.busy.lock() = vec![0; workers];
        self.measured.store(workers as u64, Relaxed);
    }

    /// The worker checks [`Live::is_aborted`] afterwards, so that no abort is lost.
    pub(crate) fn register(&self, waker: Waker) {
        self.wakers.lock().push(waker);
    }

    pub(crate) fn end(&self) {
        self.wakers.lock().clear();
    }

    pub(crate) fn request_issued(&self) {
        self.issued.fetch_add(1, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub(crate) fn request_ended(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    pub(crate) fn measured_issued(&self) {
        self.measured.fetch_add(1, Relaxed);
    }

    /// Called at the end of a measured request, and when a worker has sent all of its own. The last
    /// call wakes the workers.
    pub(crate) fn measured_ended(&self) {
        if self.measured.fetch_sub(1, Relaxed) == 1 {
            self.wakers.lock().iter().for_each(Waker::wake);
        }
    }

    pub(crate) fn has_measured(&self) -> bool {
        self.measured.load(Relaxed) > 0
    }

    pub(crate) fn add_events(&self, events: u64) {
        self.events.fetch_add(events, Relaxed);
    }

    pub(crate) fn set_busy(&self, worker: usize, share: f64) {
        if let Some(busy) = self.busy.lock().get_mut(worker) {
            *busy = (share * 1000.0) as u32;
        }
    }

    pub(crate) fn add_row(&self, row: &RequestRow) {
        let mut totals = self.totals.lock();
        match row.outcome {
            Outcome::Done => {
                totals.done += 1;
                totals.output_tokens += u64::from(row.output_tokens.get());
                totals.cached_tokens += u64::from(row.gpu_hit_tokens().get());
                if let Some(first) = row.first_token {
                    totals.first_token.record(first.saturating_sub(row.due));
                }
                for gap in &row.chunk_gaps {
                    totals.gap.record(*gap);
                }
            }
            Outcome::Unfinished => totals.unfinished += 1,
            Outcome::Failed => {
                totals.failed += 1;
                totals.last_error.clone_from(&row.error);
            }
        }
    }

    /// Since the start of the load. None before.
    pub fn elapsed(&self) -> Option<Nanos> {
        self.clock.lock().map(Clock::now)
    }

    pub fn snapshot(&self) -> LiveSnapshot {
        let elapsed = self.clock.lock().map_or(Nanos::ZERO, Clock::now);
        let busy = self.busy.lock().iter().map(|share| f64::from(*share) / 1000.0).collect();
        let totals = self.totals.lock();
        LiveSnapshot {
            elapsed,
            issued: self.issued.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            done: totals.done,
            failed: totals.failed,
            unfinished: totals.unfinished,
            events: self.events.load(Relaxed),
            output_tokens: totals.output_tokens,
            cached_tokens: totals.cached_tokens,
            first_token: totals.first_token.spread(),
            gap: totals.gap.spread(),
            busy,
            last_error: totals.last_error.clone(),
        }
    }
}
