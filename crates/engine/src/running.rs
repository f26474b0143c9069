//! The running sequences in order, and a wheel of passes in which a decoding sequence needs
//! attention.
//!
//! A decoding sequence gets one token per pass. Between block boundaries nothing else about it
//! changes, so the cohort advances as one number. The wheel wakes a sequence in the pass in which
//! it fills a block, needs a new one, or ends.

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Links {
    before: u32,
    after: u32,
}

/// In the order in which they started.
#[derive(Debug, Clone)]
pub(crate) struct RunningList {
    links: Vec<Links>,
    last: u32,
    first: u32,
    len: u32,
    next_order: u64,
}

impl RunningList {
    pub(crate) const fn new() -> Self {
        Self { links: Vec::new(), last: NONE, first: NONE, len: 0, next_order: 0 }
    }

    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    pub(crate) const fn first(&self) -> Option<u32> {
        if self.first == NONE { None } else { Some(self.first) }
    }

    pub(crate) const fn last(&self) -> Option<u32> {
        if self.last == NONE { None } else { Some(self.last) }
    }

    /// Oldest start first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        let after = |slot: &u32| {
            let next = self.links[*slot as usize].after;
            (next != NONE).then_some(next)
        };
        std::iter::successors(self.first(), after)
    }

    /// Returns its place in the order.
    pub(crate) fn push(&mut self, slot: u32) -> u64 {
        if self.links.len() <= slot as usize {
            self.links.resize(slot as usize + 1, Links { before: NONE, after: NONE });
        }
        self.links[slot as usize] = Links { before: self.last, after: NONE };
        if self.last == NONE {
            self.first = slot;
        } else {
            self.links[self.last as usize].after = slot;
        }
        self.last = slot;
        self.len += 1;
        self.next_order += 1;
        self.next_order
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        let Links { before, after } = self.links[slot as usize];
        if before == NONE {
            self.first = after;
        } else {
            self.links[before as usize].after = after;
        }
        if after == NONE {
            self.last = before;
        } else {
            self.links[after as usize].before = before;
        }
        self.len -= 1;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WakeUp {
    pub(crate) slot: u32,
    pub(crate) epoch: u32,
}

/// By pass, at most one turn of the wheel ahead.
#[derive(Debug, Clone)]
pub(crate) struct Wheel {
    buckets: Vec<Vec<WakeUp>>,
}

impl Wheel {
    /// Wake-ups may be `ahead` passes away.
    pub(crate) fn new(ahead: u32) -> Self {
        Self { buckets: vec![Vec::new(); ahead as usize + 1] }
    }

    pub(crate) fn add(&mut self, pass: u64, wake_up: WakeUp) {
        let turn = self.buckets.len() as u64;
        self.buckets[(pass % turn) as usize].push(wake_up);
    }

    /// Swaps the wake-ups of a pass with an empty buffer.
    pub(crate) fn take(&mut self, pass: u64, buffer: &mut Vec<WakeUp>) {
        buffer.clear();
        let turn = self.buckets.len() as u64;
        std::mem::swap(buffer, &mut self.buckets[(pass % turn) as usize]);
    }
}
