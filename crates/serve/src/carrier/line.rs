//! The line in front of the workers: what requests wait for goes first.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use super::Job;

/// Stores that may wait. More are turned away: a mechanism that cannot keep up has no memory to
/// hold what it would store later.
const MOST_STORES: usize = 1024;

#[derive(Debug, Default)]
struct Waiting {
    urgent: VecDeque<Job>,
    /// Stores, and chunks to let go of, in order.
    stores: VecDeque<Job>,
    closed: bool,
}

/// See the module's header.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Line {
    /// Puts a lookup or a load in line. There are no more of them than requests in flight.
    pub(super) fn urgent(&self, job: Job) {
        self.change(|waiting| waiting.urgent.push_back(job));
    }

    /// Puts a store in line; false when too many wait.
    pub(super) fn store(&self, job: Job) -> bool {
        self.change(|waiting| {
            let room = waiting.stores.len() < MOST_STORES;
            if room {
                waiting.stores.push_back(job);
            }
            room
        })
    }

    /// Puts the dropping of chunks in line, behind the stores that may have brought them.
    pub(super) fn release(&self, job: Job) {
        self.change(|waiting| waiting.stores.push_back(job));
    }

    /// The next job, as soon as there is one; nothing once the line is closed.
    pub(super) fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if waiting.closed {
                return None;
            }
            let job = waiting.urgent.pop_front();
            if let Some(job) = job.or_else(|| waiting.stores.pop_front()) {
                return Some(job);
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Sends everybody home; what waits is not done.
    pub(super) fn close(&self) {
        self.change(|waiting| waiting.closed = true);
        self.changed.notify_all();
    }

    fn change<T>(&self, how: impl FnOnce(&mut Waiting) -> T) -> T {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let result = how(&mut waiting);
        drop(waiting);
        self.changed.notify_one();
        result
    }
}
