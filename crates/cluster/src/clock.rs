//! The event queue: what happens next, ties in the order in which they were planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use weir_model::Nanos;

struct Planned<E> {
    at: Nanos,
    sequence: u64,
    event: E,
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}
impl<E> Eq for Planned<E> {}
impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// The time up to which everything was handled, and the events that are to come.
pub(crate) struct Clock<E> {
    queue: BinaryHeap<Reverse<Planned<E>>>,
    planned: u64,
    now: Nanos,
}

impl<E> Clock<E> {
    pub(crate) fn new() -> Self {
        Self { queue: BinaryHeap::new(), planned: 0, now: Nanos::ZERO }
    }

    /// The time of the event that was handled last.
    pub(crate) const fn now(&self) -> Nanos {
        self.now
    }

    /// Plans an event; one in the past is a defect.
    pub(crate) fn plan(&mut self, at: Nanos, event: E) {
        assert!(at >= self.now, "nothing can be planned for the past");
        self.planned += 1;
        self.queue.push(Reverse(Planned { at, sequence: self.planned, event }));
    }

    /// When the next event is due.
    pub(crate) fn next_at(&self) -> Option<Nanos> {
        self.queue.peek().map(|planned| planned.0.at)
    }

    /// Goes on to the next event.
    pub(crate) fn next(&mut self) -> Option<E> {
        let Reverse(planned) = self.queue.pop()?;
        self.now = planned.at;
        Some(planned.event)
    }
}
