use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use weir_model::Nanos;
use weir_store::{Loaded, Stored, TierFault};

/// Nanoseconds; longer batches are clamped.
const LONGEST: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    /// Verified as far as configured.
    pub hits: u64,
    pub misses: u64,
    /// Not requested, because an earlier block of the same prompt was missing.
    pub behind_miss: u64,
    /// Found damaged by the tier itself.
    pub corrupt: u64,
    /// Returned as a hit with wrong bytes: a defect.
    pub wrong: u64,
    pub stored: u64,
    /// Not stored, because present.
    pub present: u64,
    /// Not stored, because the tier was full.
    pub full: u64,
    /// Failed, indexed as `TierFault::ALL`.
    pub faults: [u64; TierFault::ALL.len()],
}

impl Outcomes {
    pub fn fetched(&mut self, outcome: Loaded) {
        match outcome {
            Loaded::Hit => self.hits += 1,
            Loaded::Miss => self.misses += 1,
            Loaded::Corrupt => self.corrupt += 1,
            Loaded::Failed(fault) => self.fault(fault),
        }
    }

    pub fn stored(&mut self, outcome: Stored) {
        match outcome {
            Stored::Stored => self.stored += 1,
            Stored::Present => self.present += 1,
            Stored::Full => self.full += 1,
            Stored::Failed(fault) => self.fault(fault),
        }
    }

    fn fault(&mut self, fault: TierFault) {
        let place = TierFault::ALL.iter().position(|one| *one == fault).unwrap_or(0);
        self.faults[place] += 1;
    }

    pub fn failed(&self) -> u64 {
        self.faults.iter().sum()
    }

    /// Share of requested blocks that were present; None without requests.
    pub fn hit_share(&self) -> Option<f64> {
        let asked = self.hits + self.misses + self.behind_miss + self.corrupt + self.wrong;
        (asked > 0).then(|| self.hits as f64 / asked as f64)
    }

    /// Outcomes other than a hit, a miss or a stored block, in words; empty without any.
    pub fn trouble(&self) -> String {
        let mut words = Vec::new();
        let rest = [
            (self.wrong, "wrong bytes"),
            (self.corrupt, "corrupt"),
            (self.full, "found no room"),
            (self.present, "were there already"),
        ];
        let faults = TierFault::ALL.iter().zip(self.faults).map(|(fault, n)| (n, fault.name()));
        for (count, word) in rest.into_iter().chain(faults) {
            if count > 0 {
                words.push(format!("{count} {word}"));
            }
        }
        words.join(", ")
    }

    pub fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.behind_miss += other.behind_miss;
        self.corrupt += other.corrupt;
        self.wrong += other.wrong;
        self.stored += other.stored;
        self.present += other.present;
        self.full += other.full;
        for (sum, one) in self.faults.iter_mut().zip(other.faults) {
            *sum += one;
        }
    }
}

#[derive(Debug, Clone)]
pub struct Side {
    pub moved: u64,
    /// Inside the tier's calls.
    pub timed: Duration,
    /// Nanoseconds.
    pub batches: Histogram<u64>,
    /// Batch time divided by its blocks, nanoseconds, counted once per block.
    pub blocks: Histogram<u64>,
}

impl Default for Side {
    fn default() -> Self {
        let empty = || {
            Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("the bounds are in their range")
        };
        Self { moved: 0, timed: Duration::ZERO, batches: empty(), blocks: empty() }
    }
}

impl Side {
    pub fn batch(&mut self, asked: u64, moved: u64, took: Duration) {
        self.moved += moved;
        self.timed += took;
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // Saturating: the bounds are far beyond any deadline.
        self.batches.saturating_record(nanos);
        self.blocks.saturating_record_n(nanos / asked.max(1), asked.max(1));
    }

    pub fn add(&mut self, other: &Self) {
        self.moved += other.moved;
        self.timed += other.timed;
        // Both have the bounds of `default`.
        self.batches += &other.batches;
        self.blocks += &other.blocks;
    }
}

#[derive(Debug, Clone, Default)]
pub struct WorkerTally {
    pub reads: Side,
    pub writes: Side,
    pub outcomes: Outcomes,
    /// Inside the tier's calls.
    pub cpu_inside: Nanos,
    pub cpu: Nanos,
    /// From the first batch to the last.
    pub wall: Duration,
}

impl WorkerTally {
    pub fn timed(&self) -> Duration {
        self.reads.timed + self.writes.timed
    }

    pub fn add(&mut self, other: &Self) {
        self.reads.add(&other.reads);
        self.writes.add(&other.writes);
        self.outcomes.add(&other.outcomes);
        self.cpu_inside += other.cpu_inside;
        self.cpu += other.cpu;
        self.wall += other.wall;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_by_kind_and_told() {
        let mut outcomes = Outcomes::default();
        for outcome in [Loaded::Hit, Loaded::Hit, Loaded::Miss, Loaded::Corrupt] {
            outcomes.fetched(outcome);
        }
        outcomes.fetched(Loaded::Failed(TierFault::Timeout));
        outcomes.stored(Stored::Full);
        assert_eq!(outcomes.hit_share(), Some(0.5));
        assert_eq!(outcomes.trouble(), "1 corrupt, 1 found no room, 1 timeout");
        let mut sum = outcomes;
        sum.add(&outcomes);
        assert_eq!((sum.hits, sum.failed()), (4, 2));
        assert_eq!(Outcomes::default().hit_share(), None);
    }

    #[test]
    fn a_batch_counts_once_and_its_blocks_each() {
        let mut side = Side::default();
        side.batch(8, 7, Duration::from_micros(800));
        side.batch(8, 8, Duration::from_micros(1600));
        assert_eq!((side.moved, side.batches.len(), side.blocks.len()), (15, 2, 16));
        let near = |value: u64, expected: f64| (value as f64 / expected - 1.0).abs() < 0.002;
        assert!(near(side.batches.max(), 1_600_000.0));
        assert!(near(side.blocks.value_at_quantile(0.5), 100_000.0));
    }
}
