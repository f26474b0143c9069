use std::sync::atomic::{AtomicU64, Ordering};

use crate::tier::{Loaded, Stored, TierCounters, TierFault};

/// Blocks are counted by outcome, once per call, so the figures add up to the requested blocks. A
/// failed call that is not about single blocks counts as one.
#[derive(Debug, Default)]
pub(crate) struct TierTally {
    stored: AtomicU64,
    present: AtomicU64,
    full: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    corrupt: AtomicU64,
    faults: [AtomicU64; TierFault::ALL.len()],
}

impl TierTally {
    pub(crate) fn puts(&self, outcomes: &[Stored]) {
        for outcome in outcomes {
            match outcome {
                Stored::Stored => add(&self.stored),
                Stored::Present => add(&self.present),
                Stored::Full => add(&self.full),
                Stored::Failed(fault) => self.fault(*fault),
            }
        }
    }

    pub(crate) fn gets(&self, outcomes: &[Loaded]) {
        for outcome in outcomes {
            match outcome {
                Loaded::Hit => add(&self.hits),
                Loaded::Miss => add(&self.misses),
                Loaded::Corrupt => add(&self.corrupt),
                Loaded::Failed(fault) => self.fault(*fault),
            }
        }
    }

    pub(crate) fn fault(&self, fault: TierFault) {
        add(&self.faults[fault as usize]);
    }

    pub(crate) fn read(&self) -> TierCounters {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TierCounters {
            stored: get(&self.stored),
            present: get(&self.present),
            full: get(&self.full),
            hits: get(&self.hits),
            misses: get(&self.misses),
            corrupt: get(&self.corrupt),
            faults: std::array::from_fn(|index| get(&self.faults[index])),
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
