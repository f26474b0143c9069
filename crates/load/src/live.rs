//! Progress of a run for a terminal, its abort, and a start that somebody else gives.
//!
//! Workers update atomics once per turn or request. The thread that takes the rows owns the
//! distributions, so no worker waits for a lock.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use weir_model::{Nanos, Outcome, RequestRow, certificate::Spread};

use crate::clock::Clock;
use crate::poll::Waker;
use crate::spread::SpreadTally;

/// Between looks at the abort while a start is waited for.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

impl RowTotals {
    fn add(&mut self, other: Self) {
        self.first_token.add(&other.first_token);
        self.gap.add(&other.gap);
        self.done += other.done;
        self.failed += other.failed;
        self.unfinished += other.unfinished;
        self.output_tokens += other.output_tokens;
        self.cached_tokens += other.cached_tokens;
        self.last_error = other.last_error.or(self.last_error.take());
    }
}

/// How the load of a held process begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Gate {
    /// As soon as it is prepared.
    #[default]
    Open,
    Held,
    /// Prepared, and waiting.
    Ready,
    /// At a time of the monotonic clock.
    Agreed(u64),
}

#[derive(Debug, Default)]
pub struct Live {
    is_aborted: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
    clock: Mutex<Option<Clock>>,
    issued: AtomicU64,
    in_flight: AtomicU32,
    /// Requests of the measured set in flight, plus workers that may still send some, plus one
    /// while the load is held up. The load ends at zero.
    measured: AtomicU64,
    holds_up: AtomicBool,
    events: AtomicU64,
    busy: Mutex<Vec<u32>>,
    totals: Mutex<RowTotals>,
    gate: Mutex<Gate>,
    gate_changed: Condvar,
    /// Of processes elsewhere, which generate this load.
    elsewhere: Mutex<Option<Vec<LiveCounts>>>,
}

/// What one process has counted so far; those of several are added without loss.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveCounts {
    elapsed: Nanos,
    issued: u64,
    in_flight: u32,
    events: u64,
    busy: Vec<f64>,
    totals: RowTotals,
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

impl LiveSnapshot {
    fn of(all: Vec<LiveCounts>) -> Self {
        let mut totals = RowTotals::default();
        let (mut elapsed, mut issued, mut in_flight, mut events) = (Nanos::ZERO, 0, 0, 0);
        let mut busy = Vec::new();
        for counts in all {
            elapsed = elapsed.max(counts.elapsed);
            issued += counts.issued;
            in_flight += counts.in_flight;
            events += counts.events;
            busy.extend(counts.busy);
            totals.add(counts.totals);
        }
        Self {
            elapsed,
            issued,
            in_flight,
            done: totals.done,
            failed: totals.failed,
            unfinished: totals.unfinished,
            events,
            output_tokens: totals.output_tokens,
            cached_tokens: totals.cached_tokens,
            first_token: totals.first_token.spread(),
            gap: totals.gap.spread(),
            busy,
            last_error: totals.last_error,
        }
    }
}

impl Live {
    pub fn new() -> Self {
        Self::default()
    }

    /// Its load begins at an agreed time, and goes on until [`Live::let_end`]: other shards may
    /// have measured requests in flight.
    pub fn held() -> Self {
        let live = Self { holds_up: AtomicBool::new(true), ..Self::default() };
        *live.gate.lock() = Gate::Held;
        live
    }

    /// Sends no more requests and aborts those in flight.
    pub fn abort(&self) {
        self.is_aborted.store(true, Relaxed);
        self.wakers.lock().iter().for_each(Waker::wake);
    }

    pub fn is_aborted(&self) -> bool {
        self.is_aborted.load(Relaxed)
    }

    /// A held load is prepared: prompts are encoded, threads run.
    pub fn is_ready(&self) -> bool {
        matches!(*self.gate.lock(), Gate::Ready | Gate::Agreed(_))
    }

    /// The start of a held load is agreed; it may lie ahead.
    pub fn has_begun(&self) -> bool {
        matches!(*self.gate.lock(), Gate::Agreed(_))
    }

    /// Of a held load, at a time of [`crate::monotonic_ns`]. False if it is not ready.
    pub fn begin_at(&self, monotonic_ns: u64) -> bool {
        let mut gate = self.gate.lock();
        let is_ready = *gate == Gate::Ready;
        if is_ready {
            *gate = Gate::Agreed(monotonic_ns);
            self.gate_changed.notify_all();
        }
        is_ready
    }

    /// No shard has measured requests in flight.
    pub fn let_end(&self) {
        if self.holds_up.swap(false, Relaxed) {
            self.measured_ended();
        }
    }

    /// All measured requests of this process have ended, and it sends no more of them.
    pub fn has_measured_all(&self) -> bool {
        self.clock.lock().is_some()
            && self.measured.load(Relaxed) <= u64::from(self.holds_up.load(Relaxed))
    }

    /// Returns the clock once it runs. After an abort it starts at once.
    pub(crate) fn start(&self, workers: usize) -> Clock {
        let held_up = u64::from(self.holds_up.load(Relaxed));
        *self.busy.lock() = vec![0; workers];
        self.measured.store(workers as u64 + held_up, Relaxed);
        let clock = self.agreed_clock();
        *self.clock.lock() = Some(clock);
        while !clock.wait().is_zero() && !self.is_aborted() {
            std::thread::sleep(clock.wait().min(LOOK));
        }
        clock
    }

    fn agreed_clock(&self) -> Clock {
        let mut gate = self.gate.lock();
        if *gate == Gate::Open {
            return Clock::start();
        }
        if *gate == Gate::Held {
            *gate = Gate::Ready;
        }
        loop {
            if let Gate::Agreed(at) = *gate {
                return Clock::starting_at(at);
            }
            if self.is_aborted() {
                return Clock::start();
            }
            self.gate_changed.wait_for(&mut gate, LOOK);
        }
    }

    /// The load is generated elsewhere, from a time of [`crate::monotonic_ns`] on.
    pub fn begins_elsewhere(&self, monotonic_ns: u64) {
        *self.clock.lock() = Some(Clock::starting_at(monotonic_ns));
    }

    /// What the processes elsewhere counted.
    pub fn show(&self, counts: Vec<LiveCounts>) {
        *self.elsewhere.lock() = Some(counts);
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
        let clock = (*self.clock.lock())?;
        clock.wait().is_zero().then(|| clock.now())
    }

    pub fn counts(&self) -> LiveCounts {
        let busy = self.busy.lock().iter().map(|share| f64::from(*share) / 1000.0).collect();
        LiveCounts {
            elapsed: self.elapsed().unwrap_or_default(),
            issued: self.issued.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            events: self.events.load(Relaxed),
            busy,
            totals: self.totals.lock().clone(),
        }
    }

    pub fn snapshot(&self) -> LiveSnapshot {
        let elsewhere = self.elsewhere.lock().clone();
        let snapshot = LiveSnapshot::of(elsewhere.unwrap_or_else(|| vec![self.counts()]));
        let elapsed = self.elapsed().unwrap_or_default();
        LiveSnapshot { elapsed: snapshot.elapsed.max(elapsed), ..snapshot }
    }
}
