//! The conformance suite of [`Tier`]: every tier must pass, and a broken one must fail.
//!
//! A failed check panics with its values. Blocks have contents derived from their keys, so that a
//! wrong byte is found wherever it comes from. Use it through [`tier_suite!`](crate::tier_suite):
//!
//! ```ignore
//! weir_store::tier_suite!(memory, || Subject::new(MemoryTier::new(options)));
//! ```

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::slab::{Block, Slab};
use crate::tier::{ChunkHash, Get, Loaded, Put, Stored, Tier};

mod faulty;
mod kvrocks;
mod model;
mod order;
mod threads;

pub use faulty::{FaultOptions, Faulty, Injected};
pub use kvrocks::{Release, ScriptedKvrocks};
pub use model::equals_a_plain_map;
pub use order::{
    absent_is_a_miss, capacity_is_kept, clear_spares_the_neighbour, counters_add_up,
    deadlines_hold, duplicates_in_a_batch, present_is_kept, remove_removes, round_trip,
    wrong_lengths_are_outcomes,
};
pub use threads::threads_see_right_bytes;

/// Deadline of calls that should not reach it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Blocks that the suite needs room for.
pub const BLOCKS_MIN: u64 = 16;
/// Above this many bytes the suite does not fill a tier to test eviction.
const FILL_BYTES_MAX: u64 = 64 << 20;

/// An empty tier under test, with room for at least [`BLOCKS_MIN`] blocks.
pub struct Subject {
    tier: Box<dyn Tier>,
    neighbour: Option<Box<dyn Tier>>,
    slab: Option<Arc<Slab>>,
    /// Dropped last: a server, a folder.
    guard: Guard,
}

struct Guard(#[expect(dead_code, reason = "kept for its drop")] Box<dyn Any>);

impl Subject {
    pub fn new(tier: impl Tier + 'static) -> Self {
        let tier = Box::new(tier);
        let guard = Guard(Box::new(()));
        Self { tier, neighbour: None, slab: None, guard }
    }

    /// Keeps a server or a folder until the test is over.
    #[must_use]
    pub fn with_guard(mut self, guard: impl Any) -> Self {
        self.guard = Guard(Box::new(guard));
        self
    }

    /// Another tier in the same place; the first one must not touch its blocks.
    #[must_use]
    pub fn with_neighbour(mut self, neighbour: impl Tier + 'static) -> Self {
        self.neighbour = Some(Box::new(neighbour));
        self
    }

    /// The tier's registered slab: half of the suite's buffers come from it.
    #[must_use]
    pub fn with_slab(mut self, slab: Arc<Slab>) -> Self {
        self.slab = Some(slab);
        self
    }

    pub fn tier(&self) -> &dyn Tier {
        &*self.tier
    }

    /// In blocks, if known.
    fn capacity(&self) -> Option<u64> {
        let usage = self.tier.usage(later()).expect("usage of a healthy tier");
        usage.capacity.map(|bytes| bytes.0 / self.tier.block_bytes() as u64)
    }

    /// A buffer of the tier's block size: from the slab and at an odd address, alternately.
    fn buffer(&self, turn: usize) -> Buffer {
        let block = self.slab.as_ref().filter(|_| turn.is_multiple_of(2)).and_then(Slab::take);
        block.map_or_else(
            || Buffer::Heap(vec![0; self.tier.block_bytes() + turn % 3], turn % 3),
            Buffer::Slab,
        )
    }

    /// Stores blocks with the contents of their keys.
    fn put(&self, keys: &[ChunkHash], deadline: Instant) -> Vec<Stored> {
        put(self, self.tier(), keys, deadline)
    }

    /// Loads blocks and checks the bytes of every hit.
    fn get(&self, keys: &[ChunkHash], deadline: Instant) -> Vec<Loaded> {
        get(self, self.tier(), keys, deadline)
    }

    /// Checks the number of chunks that the tier reports.
    fn holds(&self, chunks: u64) {
        let usage = self.tier.usage(later()).expect("usage of a healthy tier");
        assert_eq!(usage.chunks, chunks, "{usage:?}");
        assert!(usage.used.0 >= chunks * self.tier.block_bytes() as u64, "{usage:?}");
    }

    fn contains(&self, keys: &[ChunkHash]) -> Vec<bool> {
        // The tier must overwrite both values.
        let mut present: Vec<bool> = (0..keys.len()).map(|index| index % 2 == 0).collect();
        self.tier.contains(keys, later(), &mut present).expect("contains of a healthy tier");
        present
    }

    fn remove(&self, keys: &[ChunkHash]) {
        self.tier.remove(keys, later()).expect("remove of a healthy tier");
    }

    fn clear(&self) {
        self.tier.clear(later()).expect("clear of a healthy tier");
    }
}

enum Buffer {
    Slab(Block),
    Heap(Vec<u8>, usize),
}

impl Buffer {
    fn bytes(&mut self) -> &mut [u8] {
        match self {
            Self::Slab(block) => block,
            Self::Heap(bytes, from) => &mut bytes[*from..],
        }
    }
}

fn put(subject: &Subject, tier: &dyn Tier, keys: &[ChunkHash], until: Instant) -> Vec<Stored> {
    let mut buffers: Vec<Buffer> = (0..keys.len()).map(|turn| subject.buffer(turn)).collect();
    let puts: Vec<Put<'_>> = keys
        .iter()
        .zip(&mut buffers)
        .map(|(key, buffer)| {
            let bytes = buffer.bytes();
            content(*key, bytes);
            Put { key: *key, bytes }
        })
        .collect();
    let mut outcomes = vec![Stored::Full; keys.len()];
    tier.put(&puts, until, &mut outcomes);
    outcomes
}

fn get(subject: &Subject, tier: &dyn Tier, keys: &[ChunkHash], until: Instant) -> Vec<Loaded> {
    let mut buffers: Vec<Buffer> = (0..keys.len()).map(|turn| subject.buffer(turn)).collect();
    let mut gets: Vec<Get<'_>> = keys
        .iter()
        .zip(&mut buffers)
        .map(|(key, buffer)| {
            let into = buffer.bytes();
            // Detects a hit without bytes, even if the buffer held the block before.
            into.fill(0xa5);
            Get { key: *key, into }
        })
        .collect();
    let mut outcomes = vec![Loaded::Corrupt; keys.len()];
    tier.get(&mut gets, until, &mut outcomes);
    for (get, outcome) in gets.iter().zip(&outcomes) {
        if *outcome == Loaded::Hit {
            check(get.key, get.into, "a hit");
        }
    }
    outcomes
}

fn later() -> Instant {
    Instant::now() + PATIENCE
}

pub fn key(number: u64) -> ChunkHash {
    let mut bytes = [0; 32];
    for (lane, word) in bytes.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&mixed(number.wrapping_add((lane as u64) << 56)).to_le_bytes());
    }
    ChunkHash(bytes)
}

pub fn keys(numbers: std::ops::Range<u64>) -> Vec<ChunkHash> {
    numbers.map(key).collect()
}

pub fn content(key: ChunkHash, bytes: &mut [u8]) {
    let seed = u64::from_le_bytes(key.0[..8].try_into().expect("eight bytes of thirty-two"));
    for (index, word) in bytes.chunks_mut(8).enumerate() {
        let value = mixed(seed ^ index as u64).to_le_bytes();
        word.copy_from_slice(&value[..word.len()]);
    }
}

/// Panics unless the bytes are the content of the key.
pub fn check(key: ChunkHash, bytes: &[u8], what: &str) {
    let mut wanted = vec![0; bytes.len()];
    content(key, &mut wanted);
    if let Some(at) = wanted.iter().zip(bytes).position(|(wanted, found)| wanted != found) {
        panic!("{what} of {key:?} has a wrong byte at {at} of {}", bytes.len());
    }
}

/// The finaliser of `SplitMix64`: neighbouring numbers get unlike bits.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub type Check = fn(&Subject);

pub const CHECKS: &[(&str, Check)] = &[
    ("round_trip", round_trip),
    ("absent_is_a_miss", absent_is_a_miss),
    ("present_is_kept", present_is_kept),
    ("duplicates_in_a_batch", duplicates_in_a_batch),
    ("remove_removes", remove_removes),
    ("clear_spares_the_neighbour", clear_spares_the_neighbour),
    ("capacity_is_kept", capacity_is_kept),
    ("deadlines_hold", deadlines_hold),
    ("wrong_lengths_are_outcomes", wrong_lengths_are_outcomes),
    ("counters_add_up", counters_add_up),
    ("threads_see_right_bytes", threads_see_right_bytes),
    ("equals_a_plain_map", equals_a_plain_map),
];

/// The tests of one tier: its name, and how to make a [`Subject`] of it. The maker may return an
/// `Option`: None if the machine lacks a requirement, which the maker has printed.
#[macro_export]
macro_rules! tier_suite {
    ($name:ident, $make:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $crate::tier_suite!(@checks $make;
                round_trip, absent_is_a_miss, present_is_kept, duplicates_in_a_batch,
                remove_removes, clear_spares_the_neighbour, capacity_is_kept, deadlines_hold,
                wrong_lengths_are_outcomes, counters_add_up, threads_see_right_bytes,
                equals_a_plain_map);
        }
    };
    (@checks $make:expr; $($check:ident),*) => {
        $(
            #[test]
            fn $check() {
                let subject: Option<$crate::suite::Subject> = ($make)().into();
                if let Some(subject) = subject {
                    $crate::suite::$check(&subject);
                }
            }
        )*
    };
}
