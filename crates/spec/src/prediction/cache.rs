//! A prefix cache or tier without time: units by recency.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

#[derive(Debug, Clone, Default)]
pub(super) struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// The keys are hashes. Never iterated, so its order cannot show.
pub(super) type ByKey<T> = HashMap<u64, T, BuildHasherDefault<Plain>>;

/// A run of tokens that is cached as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    /// Of everything up to its end.
    pub(super) key: u64,
    pub(super) tokens: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Cache {
    capacity: u64,
    /// A full cache refuses new units instead of evicting old ones.
    refuses: bool,
    used: u64,
    clock: u64,
    held: ByKey<(u64, u32)>,
    order: BTreeMap<u64, u64>,
}

/// In tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Inserted {
    pub(super) stored: u64,
    pub(super) evicted: u64,
    pub(super) refused: u64,
}

impl Cache {
    pub(super) fn new(capacity: u64, refuses: bool) -> Self {
        Self {
            capacity,
            refuses,
            used: 0,
            clock: 0,
            held: ByKey::default(),
            order: BTreeMap::new(),
        }
    }

    pub(super) fn holds(&self, unit: Unit) -> bool {
        self.held.contains_key(&unit.key)
    }

    pub(super) fn prefix(&self, units: &[Unit]) -> u64 {
        let held = units.iter().take_while(|unit| self.holds(**unit));
        held.map(|unit| u64::from(unit.tokens)).sum()
    }

    /// Makes all units the most recent ones, the first most of all, so that a prefix loses its tail
    /// first.
    pub(super) fn insert(&mut self, units: &[Unit]) -> Inserted {
        let mut done = Inserted::default();
        for unit in units.iter().rev() {
            let tokens = u64::from(unit.tokens);
            self.clock += 1;
            if let Some((stamp, _)) = self.held.get_mut(&unit.key) {
                self.order.remove(stamp);
                *stamp = self.clock;
                self.order.insert(self.clock, unit.key);
                continue;
            }
            if tokens > self.capacity || (self.refuses && self.used + tokens > self.capacity) {
                done.refused += tokens;
                continue;
            }
            while self.used + tokens > self.capacity {
                done.evicted += self.evict();
            }
            self.held.insert(unit.key, (self.clock, unit.tokens));
            self.order.insert(self.clock, unit.key);
            self.used += tokens;
            done.stored += tokens;
        }
        done
    }

    /// Drops the least recently used unit.
    fn evict(&mut self) -> u64 {
        let Some((_, key)) = self.order.pop_first() else {
            return 0;
        };
        let tokens = self.held.remove(&key).map_or(0, |(_, tokens)| u64::from(tokens));
        self.used -= tokens;
        tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(keys: &[u64]) -> Vec<Unit> {
        keys.iter().map(|key| Unit { key: *key, tokens: 10 }).collect()
    }

    #[test]
    fn a_prefix_loses_its_tail_first() {
        let mut cache = Cache::new(30, false);
        cache.insert(&units(&[1, 2, 3]));
        let done = cache.insert(&units(&[9]));
        assert_eq!(done, Inserted { stored: 10, evicted: 10, refused: 0 });
        assert_eq!(cache.prefix(&units(&[1, 2, 3])), 20);
    }

    #[test]
    fn a_full_cache_that_does_not_evict_refuses() {
        let mut cache = Cache::new(20, true);
        cache.insert(&units(&[1, 2]));
        assert_eq!(cache.insert(&units(&[3])).refused, 10);
        assert_eq!(cache.prefix(&units(&[1, 2])), 20);
        assert_eq!(cache.insert(&units(&[1])), Inserted::default());
    }
}
