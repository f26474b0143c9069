//! Storing and loading blocks with the contents of their keys, for tests of single tiers.

use std::time::{Duration, Instant};

use weir_store::suite::{check, content};
use weir_store::{ChunkHash, Get, Loaded, Put, Stored, Tier};

pub(crate) fn later() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub(crate) fn put(tier: &dyn Tier, keys: &[ChunkHash]) -> Vec<Stored> {
    let mut blocks: Vec<Vec<u8>> = vec![vec![0; tier.block_bytes()]; keys.len()];
    for (key, block) in keys.iter().zip(&mut blocks) {
        content(*key, block);
    }
    let puts: Vec<Put<'_>> =
        keys.iter().zip(&blocks).map(|(key, bytes)| Put { key: *key, bytes }).collect();
    let mut outcomes = vec![Stored::Full; keys.len()];
    tier.put(&puts, later(), &mut outcomes);
    outcomes
}

/// Panics when a hit has a wrong byte.
pub(crate) fn get(tier: &dyn Tier, keys: &[ChunkHash]) -> Vec<Loaded> {
    let mut blocks: Vec<Vec<u8>> = vec![vec![0; tier.block_bytes()]; keys.len()];
    let mut gets: Vec<Get<'_>> =
        keys.iter().zip(&mut blocks).map(|(key, into)| Get { key: *key, into }).collect();
    let mut outcomes = vec![Loaded::Corrupt; keys.len()];
    tier.get(&mut gets, later(), &mut outcomes);
    for (get, _) in gets.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Loaded::Hit) {
        check(get.key, get.into, "a hit");
    }
    outcomes
}

pub(crate) fn present(tier: &dyn Tier, keys: &[ChunkHash]) -> Vec<bool> {
    let mut present = vec![false; keys.len()];
    tier.contains(keys, later(), &mut present).unwrap();
    present
}
