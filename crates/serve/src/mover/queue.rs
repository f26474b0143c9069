//! Job queue of the workers. Jobs that requests wait for go first.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};
use weir_engine::{Slot, TransferId, TransferKind};
use weir_model::TierKind;

#[derive(Debug)]
pub(super) struct Job {
    pub(super) replica: u16,
    pub(super) chunks: Chunks,
    pub(super) task: Task,
}

#[derive(Debug)]
pub(super) enum Task {
    Transfer { id: TransferId, kind: TransferKind, tier: TierKind },
    Lookup { slot: Slot },
    Remove { tier: TierKind },
}

/// A span of chunks, and all token ids up to its end.
#[derive(Debug)]
pub(super) struct Chunks {
    pub(super) ids: Vec<u32>,
    pub(super) salt: String,
    pub(super) from: u32,
    pub(super) to: u32,
}

/// A mechanism that cannot keep up has no memory for more.
const MOST_STORES: usize = 1024;

#[derive(Debug, Default)]
struct Waiting {
    urgent: VecDeque<Job>,
    /// Stores and removals, in order.
    stores: VecDeque<Job>,
    closed: bool,
}

#[derive(Debug, Default)]
pub(super) struct JobQueue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl JobQueue {
    /// For lookups and loads, which the requests in flight bound.
    pub(super) fn push_urgent(&self, job: Job) {
        self.change(|waiting| waiting.urgent.push_back(job));
    }

    /// False when the queue of stores is full.
    pub(super) fn push_store(&self, job: Job) -> bool {
        self.change(|waiting| {
            let room = waiting.stores.len() < MOST_STORES;
            if room {
                waiting.stores.push_back(job);
            }
            room
        })
    }

    /// Behind the stores that may have written the chunks.
    pub(super) fn push_removal(&self, job: Job) {
        self.change(|waiting| waiting.stores.push_back(job));
    }

    pub(super) fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.closed {
                return None;
            }
            let job = waiting.urgent.pop_front();
            if let Some(job) = job.or_else(|| waiting.stores.pop_front()) {
                return Some(job);
            }
            self.changed.wait(&mut waiting);
        }
    }

    /// Ends the workers and drops queued jobs.
    pub(super) fn close(&self) {
        self.change(|waiting| waiting.closed = true);
        self.changed.notify_all();
    }

    fn change<T>(&self, apply: impl FnOnce(&mut Waiting) -> T) -> T {
        let mut waiting = self.waiting.lock();
        let result = apply(&mut waiting);
        drop(waiting);
        self.changed.notify_one();
        result
    }
}
