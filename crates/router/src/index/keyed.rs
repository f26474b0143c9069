//! The index of a live router: block keys of real tokens to the replicas that hold the blocks.
//!
//! As `llm-d-kv-cache` 0.9.0: engines name blocks by their own hashes, the index by keys of its
//! own, so that engines with other seeds or block sizes share one. A block knows the one that
//! last followed it, so a lookup seldom hashes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use smallvec::SmallVec;

use super::{Match, TierWeights};

const NONE: u32 = u32::MAX;
const GPU: &str = "gpu";
/// A medium is a byte.
const MEDIA_MAX: usize = 256;

/// Keys are hashes; this spreads them over tables that use their highest and lowest bits.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

type ByKey<K, V> = HashMap<K, V, BuildHasherDefault<KeyHasher>>;

/// Where events say that blocks are: "gpu", "cpu", or an engine's own name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Medium(u8);

/// A replica and a medium. The order of the numbers is that of the replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Holder(u32);

impl Holder {
    fn new(replica: u16, medium: Medium) -> Self {
        Self(u32::from(replica) << 8 | u32::from(medium.0))
    }

    const fn replica(self) -> u16 {
        (self.0 >> 8) as u16
    }

    const fn medium(self) -> usize {
        (self.0 & 0xff) as usize
    }
}

#[derive(Debug, Clone)]
struct Block {
    key: u64,
    /// The block that was last stored behind it; another one may have its place by now.
    next: u32,
    /// Sorted. Empty in vacant places.
    holders: SmallVec<[Holder; 4]>,
}

/// The keys of the blocks that an engine's block covers.
#[derive(Debug, Clone)]
enum Covered {
    One { key: u64, at: u32 },
    Many(Box<[u64]>),
}

#[derive(Debug, Clone)]
pub struct KeyedIndex {
    weights: TierWeights,
    counts_stores: bool,
    /// Names of media, with their weights.
    media: Vec<(String, f64)>,
    blocks: Vec<Block>,
    vacant: Vec<u32>,
    by_key: ByKey<u64, u32>,
    by_engine_key: ByKey<u64, Covered>,
    /// Stores beyond the first.
    stored_again: ByKey<(u64, u32), u32>,
}

impl KeyedIndex {
    /// With `counts_stores` a block stored twice by a replica in a medium must be removed twice
    /// (llm-d-router 0.10): an engine that computed a block twice announces both copies.
    pub fn new(weights: TierWeights, counts_stores: bool) -> Self {
        Self {
            weights,
            counts_stores,
            media: Vec::new(),
            blocks: Vec::new(),
            vacant: Vec::new(),
            by_key: ByKey::default(),
            by_engine_key: ByKey::default(),
            stored_again: ByKey::default(),
        }
    }

    /// Names beyond the 256th share one number.
    pub fn medium(&mut self, name: &str) -> Medium {
        let found = self.media.iter().position(|(known, _)| known == name);
        let index = found.unwrap_or_else(|| {
            let weight = if name == GPU { self.weights.gpu } else { self.weights.below };
            if self.media.len() < MEDIA_MAX {
                self.media.push((name.to_owned(), weight));
            }
            self.media.len() - 1
        });
        Medium(index as u8)
    }

    /// The key of the last block that an engine's block covers: the parent of what follows it.
    pub fn key_of(&self, engine_key: u64) -> Option<u64> {
        match self.by_engine_key.get(&engine_key)? {
            Covered::One { key, .. } => Some(*key),
            Covered::Many(keys) => keys.last().copied(),
        }
    }

    /// `keys` are consecutive blocks behind `parent`. Where an engine's blocks are larger or
    /// smaller than the index's, each covers its share of `keys` (as in llm-d).
    pub fn store(
        &mut self,
        replica: u16,
        medium: Medium,
        parent: Option<u64>,
        keys: &[u64],
        engine_keys: &[u64],
    ) {
        let holder = Holder::new(replica, medium);
        let mut before = parent.and_then(|key| self.by_key.get(&key)).copied().unwrap_or(NONE);
        let is_even = keys.len() == engine_keys.len();
        for (index, key) in keys.iter().enumerate() {
            let at = self.store_one(*key, holder);
            if before != NONE {
                self.blocks[before as usize].next = at;
            }
            before = at;
            if is_even {
                self.by_engine_key.insert(engine_keys[index], Covered::One { key: *key, at });
            }
        }
        if !is_even {
            self.cover(keys, engine_keys);
        }
    }

    /// An event without tokens: blocks that are known also lie in `medium`. Returns how many were.
    pub fn store_known(&mut self, replica: u16, medium: Medium, engine_keys: &[u64]) -> usize {
        let mut keys: Vec<u64> =
            engine_keys.iter().filter_map(|engine_key| self.key_of(*engine_key)).collect();
        keys.dedup();
        for key in &keys {
            self.store_one(*key, Holder::new(replica, medium));
        }
        keys.len()
    }

    /// Unknown engine keys are ignored.
    pub fn remove(&mut self, replica: u16, medium: Medium, engine_key: u64) {
        let holder = Holder::new(replica, medium);
        let is_over = match self.by_engine_key.get(&engine_key) {
            None => return,
            Some(&Covered::One { key, at }) => self.remove_one(key, at, holder),
            Some(Covered::Many(keys)) => {
                let keys = keys.clone();
                for key in &keys {
                    let at = self.by_key.get(key).copied().unwrap_or(NONE);
                    self.remove_one(*key, at, holder);
                }
                keys.iter().all(|key| !self.by_key.contains_key(key))
            }
        };
        if is_over {
            self.by_engine_key.remove(&engine_key);
        }
    }

    /// All that a replica holds, in every medium.
    pub fn clear(&mut self, replica: u16) {
        for at in 0..self.blocks.len() as u32 {
            let block = &mut self.blocks[at as usize];
            let before = block.holders.len();
            block.holders.retain(|holder| holder.replica() != replica);
            if before > 0 && block.holders.is_empty() {
                self.vacate(at);
            }
        }
        self.stored_again.retain(|(_, holder), _| Holder(*holder).replica() != replica);
        let Self { by_engine_key, by_key, .. } = self;
        by_engine_key.retain(|_, covered| match covered {
            Covered::One { key, .. } => by_key.contains_key(key),
            Covered::Many(keys) => keys.iter().any(|key| by_key.contains_key(key)),
        });
    }

    /// Distinct blocks.
    pub fn known_blocks(&self) -> u64 {
        self.by_key.len() as u64
    }

    /// Fills `matches`, one per replica from 0 on, with the consecutive blocks that each holds from
    /// the first on.
    pub fn lookup(&self, keys: &[u64], matches: &mut [Match]) {
        matches.fill(Match::default());
        let mut at = 0;
        let mut found = keys.first().and_then(|key| self.behind(NONE, *key));
        while let Some(first) = found {
            let holders = &self.blocks[first as usize].holders;
            let (mut last, mut run) = (first, 1);
            loop {
                found = keys.get(at + run).and_then(|key| self.behind(last, *key));
                match found {
                    Some(next) if self.blocks[next as usize].holders == *holders => last = next,
                    _ => break,
                }
                run += 1;
            }
            if !self.count(holders, at as u32, run as u32, matches) {
                return;
            }
            at += run;
        }
    }

    /// Adds a run of blocks to the replicas that held all before it; false if none did.
    fn count(&self, holders: &[Holder], at: u32, run: u32, matches: &mut [Match]) -> bool {
        let mut is_held = false;
        for media in holders.chunk_by(|a, b| a.replica() == b.replica()) {
            let Some(found) = matches.get_mut(usize::from(media[0].replica())) else { continue };
            if found.blocks != at {
                continue;
            }
            let weight = |holder: &Holder| self.media[holder.medium()].1;
            let weight = media.iter().map(weight).fold(0.0, f64::max);
            found.blocks += run;
            if weight.fract() == 0.0 {
                found.score += weight * f64::from(run);
            } else {
                // Block by block, as llm-d adds them up: the sum is rounded down later.
                (0..run).for_each(|_| found.score += weight);
            }
            is_held = true;
        }
        is_held
    }

    fn behind(&self, before: u32, key: u64) -> Option<u32> {
        if before != NONE {
            let next = self.blocks[before as usize].next;
            if next != NONE && self.holds(next, key) {
                return Some(next);
            }
        }
        self.by_key.get(&key).copied()
    }

    fn holds(&self, at: u32, key: u64) -> bool {
        let block = self.blocks.get(at as usize);
        block.is_some_and(|block| block.key == key && !block.holders.is_empty())
    }

    fn store_one(&mut self, key: u64, holder: Holder) -> u32 {
        let Self { by_key, blocks, vacant, stored_again, counts_stores, .. } = self;
        let at = *by_key.entry(key).or_insert_with(|| {
            let block = Block { key, next: NONE, holders: SmallVec::new() };
            if let Some(at) = vacant.pop() {
                blocks[at as usize] = block;
                return at;
            }
            blocks.push(block);
            blocks.len() as u32 - 1
        });
        let holders = &mut blocks[at as usize].holders;
        match holders.binary_search(&holder) {
            Ok(_) if *counts_stores => *stored_again.entry((key, holder.0)).or_default() += 1,
            Ok(_) => {}
            Err(place) => holders.insert(place, holder),
        }
        at
    }

    /// `at` is where the block was when it was stored. True if no replica holds it any more.
    fn remove_one(&mut self, key: u64, at: u32, holder: Holder) -> bool {
        let at = if self.holds(at, key) {
            at
        } else {
            let Some(at) = self.by_key.get(&key) else { return true };
            *at
        };
        let holders = &mut self.blocks[at as usize].holders;
        let Ok(place) = holders.binary_search(&holder) else { return false };
        if !self.stored_again.is_empty()
            && let Some(again) = self.stored_again.get_mut(&(key, holder.0))
        {
            *again -= 1;
            if *again == 0 {
                self.stored_again.remove(&(key, holder.0));
            }
            return false;
        }
        holders.remove(place);
        if !holders.is_empty() {
            return false;
        }
        self.vacate(at);
        true
    }

    fn vacate(&mut self, at: u32) {
        self.by_key.remove(&self.blocks[at as usize].key);
        self.vacant.push(at);
    }

    fn cover(&mut self, keys: &[u64], engine_keys: &[u64]) {
        if keys.is_empty() || engine_keys.is_empty() {
            return;
        }
        let pairs = keys.len().max(engine_keys.len());
        let mut pair = 0;
        while pair < pairs {
            let engine = pair * engine_keys.len() / pairs;
            let end = (pair..pairs).find(|at| at * engine_keys.len() / pairs != engine);
            let end = end.unwrap_or(pairs);
            let covered = (pair..end).map(|at| keys[at * keys.len() / pairs]).collect();
            self.by_engine_key.insert(engine_keys[engine], Covered::Many(covered));
            pair = end;
        }
    }
}
