//! Host memory passes the suite under every policy, and evicts what the policy says.

use std::time::{Duration, Instant};

use weir_store::suite::{Subject, key, keys};
use weir_store::{
    ChunkHash, Fetched, Get, MemoryOptions, MemoryTier, Put, Stored, Tier, tier_suite,
};
use weir_tier::EvictionPolicy;

fn tier(capacity: u32, eviction: EvictionPolicy) -> MemoryTier {
    MemoryTier::new(MemoryOptions { capacity, block_bytes: 5000, eviction }).expect("some memory")
}

fn subject(eviction: EvictionPolicy) -> Option<Subject> {
    Some(Subject::new(tier(24, eviction)).with_neighbour(tier(24, eviction)))
}

tier_suite!(lru, || subject(EvictionPolicy::Lru));
tier_suite!(arc, || subject(EvictionPolicy::Arc));
tier_suite!(without_eviction, || subject(EvictionPolicy::None));

fn later() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn put(tier: &impl Tier, keys: &[ChunkHash]) -> Vec<Stored> {
    let bytes = vec![7; tier.block_bytes()];
    let puts: Vec<Put<'_>> = keys.iter().map(|key| Put { key: *key, bytes: &bytes }).collect();
    let mut outcomes = vec![Stored::Full; keys.len()];
    tier.put(&puts, later(), &mut outcomes);
    outcomes
}

fn get(tier: &impl Tier, key: ChunkHash) -> Fetched {
    let mut into = vec![0; tier.block_bytes()];
    let mut outcome = [Fetched::Corrupt];
    tier.get(&mut [Get { key, into: &mut into }], later(), &mut outcome);
    outcome[0]
}

fn present(tier: &impl Tier, keys: &[ChunkHash]) -> Vec<bool> {
    let mut present = vec![false; keys.len()];
    tier.contains(keys, later(), &mut present).expect("host memory");
    present
}

#[test]
fn a_chain_loses_its_end_first() {
    let tier = tier(4, EvictionPolicy::Lru);
    put(&tier, &keys(0..4));
    put(&tier, &keys(10..12));
    assert_eq!(present(&tier, &keys(0..4)), [true, true, false, false]);
}

#[test]
fn without_eviction_a_full_tier_refuses() {
    let tier = tier(4, EvictionPolicy::None);
    put(&tier, &keys(0..3));
    assert_eq!(
        put(&tier, &keys(2..6)),
        [Stored::Present, Stored::Stored, Stored::Full, Stored::Full]
    );
    tier.remove(&[key(0)], later()).expect("host memory");
    assert_eq!(put(&tier, &[key(5)]), [Stored::Stored]);
}

/// ARC keeps what was used again through a scan that flushes an LRU.
#[test]
fn arc_resists_a_scan_and_lru_does_not() {
    for (policy, survives) in [(EvictionPolicy::Arc, true), (EvictionPolicy::Lru, false)] {
        let tier = tier(16, policy);
        put(&tier, &keys(0..4));
        for number in 0..4 {
            assert_eq!(get(&tier, key(number)), Fetched::Hit);
        }
        for number in 100..200 {
            put(&tier, &[key(number)]);
        }
        assert_eq!(present(&tier, &keys(0..4)), [survives; 4], "{policy:?}");
    }
}
