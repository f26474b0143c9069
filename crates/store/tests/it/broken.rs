//! The suite must detect broken tiers: each of these breaks one rule of the contract, and at least
//! the named check must fail on it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use weir_model::{Bytes, TierKind};
use weir_store::suite::{CHECKS, FaultOptions, Faulty, Subject};
use weir_store::{
    ChunkHash, Get, Loaded, MemoryOptions, MemoryTier, Put, Stored, Tier, TierCounters, TierError,
    TierUsage,
};
use weir_tier::EvictionPolicy;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    /// Some hits have the bytes of the block loaded before.
    Stale,
    /// An absent block is a hit with the buffer's old bytes.
    Fabricates,
    Reorders,
    KeepsRemoved,
    KeepsCleared,
    /// Reports a capacity below its content.
    Overfull,
    /// Calls ignore their deadline.
    IgnoresDeadlines,
    Miscounts,
    /// A new block is reported present.
    ClaimsPresence,
    /// A block of another length is cut or padded.
    TakesAnyLength,
}

#[derive(Debug)]
struct Broken {
    inner: MemoryTier,
    how: Break,
    loads: AtomicU64,
}

impl Tier for Broken {
    fn kind(&self) -> TierKind {
        self.inner.kind()
    }

    fn place(&self) -> String {
        self.inner.place()
    }

    fn block_bytes(&self) -> usize {
        self.inner.block_bytes()
    }

    fn put(&self, puts: &[Put<'_>], deadline: Instant, outcomes: &mut [Stored]) {
        let padded: Vec<Vec<u8>> = puts
            .iter()
            .map(|put| {
                let mut bytes = put.bytes.to_vec();
                if self.how == Break::TakesAnyLength {
                    bytes.resize(self.block_bytes(), 0);
                }
                bytes
            })
            .collect();
        let puts: Vec<Put<'_>> =
            puts.iter().zip(&padded).map(|(put, bytes)| Put { key: put.key, bytes }).collect();
        self.inner.put(&puts, deadline, outcomes);
        if self.how == Break::ClaimsPresence {
            let claimed = outcomes.iter_mut().filter(|outcome| **outcome == Stored::Stored);
            claimed.for_each(|outcome| *outcome = Stored::Present);
        }
    }

    fn get(&self, gets: &mut [Get<'_>], deadline: Instant, outcomes: &mut [Loaded]) {
        let patient = Instant::now() + Duration::from_mins(1);
        let ignores = self.how == Break::IgnoresDeadlines;
        self.inner.get(gets, if ignores { patient } else { deadline }, outcomes);
        match self.how {
            Break::Stale => {
                for place in 1..gets.len() {
                    let number = self.loads.fetch_add(1, Ordering::Relaxed);
                    if number % 10 == 9 && outcomes[place] == Loaded::Hit {
                        let (before, rest) = gets.split_at_mut(place);
                        rest[0].into.copy_from_slice(before[place - 1].into);
                    }
                }
            }
            Break::Fabricates => {
                let missed = outcomes.iter_mut().filter(|outcome| **outcome == Loaded::Miss);
                missed.for_each(|outcome| *outcome = Loaded::Hit);
            }
            Break::Reorders => outcomes.reverse(),
            _ => {}
        }
    }

    fn contains(
        &self,
        keys: &[ChunkHash],
        deadline: Instant,
        present: &mut [bool],
    ) -> Result<(), TierError> {
        self.inner.contains(keys, deadline, present)
    }

    fn remove(&self, keys: &[ChunkHash], deadline: Instant) -> Result<(), TierError> {
        match self.how {
            Break::KeepsRemoved => Ok(()),
            _ => self.inner.remove(keys, deadline),
        }
    }

    fn clear(&self, deadline: Instant) -> Result<(), TierError> {
        match self.how {
            Break::KeepsCleared => Ok(()),
            _ => self.inner.clear(deadline),
        }
    }

    fn usage(&self, deadline: Instant) -> Result<TierUsage, TierError> {
        let mut usage = self.inner.usage(deadline)?;
        if self.how == Break::Overfull {
            usage.capacity = usage.capacity.map(|bytes| Bytes(bytes.0 * 3 / 4));
        }
        Ok(usage)
    }

    fn counters(&self) -> TierCounters {
        let mut counters = self.inner.counters();
        if self.how == Break::Miscounts {
            counters.hits = 0;
        }
        counters
    }
}

fn memory() -> MemoryTier {
    let eviction = EvictionPolicy::Lru;
    MemoryTier::new(MemoryOptions { capacity: 24, block_bytes: 4096, eviction }).unwrap()
}

/// Names of the failing checks.
fn failing(make: impl Fn() -> Subject) -> Vec<&'static str> {
    let fails = |check: fn(&Subject)| {
        let subject = make();
        catch_unwind(AssertUnwindSafe(|| check(&subject))).is_err()
    };
    CHECKS.iter().filter(|(_, check)| fails(*check)).map(|(name, _)| *name).collect()
}

#[test]
fn a_sound_tier_passes_all_checks() {
    assert_eq!(failing(|| Subject::new(memory())), [] as [&str; 0]);
}

#[test]
fn every_way_of_being_broken_is_seen() {
    for (how, check) in [
        (Break::Stale, "equals_a_plain_map"),
        (Break::Fabricates, "absent_is_a_miss"),
        (Break::Reorders, "absent_is_a_miss"),
        (Break::KeepsRemoved, "remove_removes"),
        (Break::KeepsCleared, "clear_spares_the_neighbour"),
        (Break::Overfull, "capacity_is_kept"),
        (Break::IgnoresDeadlines, "deadlines_hold"),
        (Break::Miscounts, "counters_add_up"),
        (Break::ClaimsPresence, "round_trip"),
        (Break::TakesAnyLength, "wrong_lengths_are_outcomes"),
    ] {
        let failed =
            failing(|| Subject::new(Broken { inner: memory(), how, loads: AtomicU64::new(0) }));
        assert!(failed.contains(&check), "{how:?} is to fail {check}; failed: {failed:?}");
    }
}

#[test]
fn rare_faults_of_the_bytes_are_seen() {
    let none = FaultOptions::default();
    for options in [
        FaultOptions { bit_flip: 0.02, ..none },
        FaultOptions { torn: 0.02, ..none },
        FaultOptions { mixed_up: 0.06, ..none },
        FaultOptions { lost_write: 0.02, ..none },
        FaultOptions { get_failure: 0.02, ..none },
    ] {
        let failed = failing(|| Subject::new(Faulty::new(memory(), options)));
        assert!(failed.contains(&"equals_a_plain_map"), "{options:?}: {failed:?}");
    }
}
