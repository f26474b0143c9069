//! Future events by time, then in scheduling order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use weir_model::Nanos;

struct Scheduled<E> {
    at: Nanos,
    sequence: u64,
    event: E,
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}
impl<E> Eq for Scheduled<E> {}
impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Scheduled<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

pub(crate) struct EventQueue<E> {
    queue: BinaryHeap<Reverse<Scheduled<E>>>,
    scheduled: u64,
    now: Nanos,
}

impl<E> EventQueue<E> {
    pub(crate) fn new() -> Self {
        Self { queue: BinaryHeap::new(), scheduled: 0, now: Nanos::ZERO }
    }

    /// Time of the last handled event.
    pub(crate) const fn now(&self) -> Nanos {
        self.now
    }

    /// Panics when `at` is in the past.
    pub(crate) fn schedule(&mut self, at: Nanos, event: E) {
        assert!(at >= self.now, "an event must not be in the past");
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled { at, sequence: self.scheduled, event }));
    }

    pub(crate) fn next_at(&self) -> Option<Nanos> {
        self.queue.peek().map(|next| next.0.at)
    }

    /// Advances the time.
    pub(crate) fn next(&mut self) -> Option<E> {
        let Reverse(scheduled) = self.queue.pop()?;
        self.now = scheduled.at;
        Some(scheduled.event)
    }
}
