//! Future events by time, then in scheduling order.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

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
    /// In order as they are.
    delayed: VecDeque<Scheduled<E>>,
    scheduled: u64,
    now: Nanos,
}

impl<E> EventQueue<E> {
    pub(crate) fn new() -> Self {
        Self { queue: BinaryHeap::new(), delayed: VecDeque::new(), scheduled: 0, now: Nanos::ZERO }
    }

    /// Time of the last handled event.
    pub(crate) const fn now(&self) -> Nanos {
        self.now
    }

    /// Panics when `at` is in the past.
    pub(crate) fn schedule(&mut self, at: Nanos, event: E) {
        let scheduled = self.number(at, event);
        self.queue.push(Reverse(scheduled));
    }

    /// As [`Self::schedule`], for events that have one delay, so that none passes another: a
    /// queue of its own costs less than sorting. Panics when `at` is before the last one's.
    pub(crate) fn schedule_delayed(&mut self, at: Nanos, event: E) {
        let last = self.delayed.back();
        assert!(last.is_none_or(|last| last.at <= at), "delayed events have one delay");
        let scheduled = self.number(at, event);
        self.delayed.push_back(scheduled);
    }

    fn number(&mut self, at: Nanos, event: E) -> Scheduled<E> {
        assert!(at >= self.now, "an event must not be in the past");
        self.scheduled += 1;
        Scheduled { at, sequence: self.scheduled, event }
    }

    pub(crate) fn next_at(&self) -> Option<Nanos> {
        let next = self.queue.peek().map(|next| next.0.at);
        match self.delayed.front() {
            Some(delayed) => Some(next.map_or(delayed.at, |next| next.min(delayed.at))),
            None => next,
        }
    }

    /// Advances the time.
    pub(crate) fn next(&mut self) -> Option<E> {
        let delayed_first = match (self.delayed.front(), self.queue.peek()) {
            (Some(delayed), Some(next)) => delayed < &next.0,
            (delayed, _) => delayed.is_some(),
        };
        let scheduled = if delayed_first { self.delayed.pop_front()? } else { self.queue.pop()?.0 };
        self.now = scheduled.at;
        Some(scheduled.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_come_by_time_and_then_in_scheduling_order() {
        let mut queue = EventQueue::new();
        queue.schedule(Nanos(5), 'b');
        queue.schedule_delayed(Nanos(5), 'c');
        queue.schedule(Nanos(5), 'd');
        queue.schedule(Nanos(2), 'a');
        queue.schedule_delayed(Nanos(7), 'e');
        assert_eq!(queue.next_at(), Some(Nanos(2)));
        let order: String = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!((order.as_str(), queue.now()), ("abcde", Nanos(7)));
        assert_eq!(queue.next_at(), None);
    }
}
