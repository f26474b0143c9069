//! Host memory passes the suite under every policy, and evicts what the policy says.

use weir_store::suite::{Subject, key, keys};
use weir_store::{Loaded, MemoryOptions, MemoryTier, Stored, Tier, tier_suite};
use weir_tier::EvictionPolicy;

use crate::blocks::{get, later, present, put};

fn tier(capacity: u32, eviction: EvictionPolicy) -> MemoryTier {
    MemoryTier::new(MemoryOptions { capacity, block_bytes: 5000, eviction }).expect("some memory")
}

fn subject(eviction: EvictionPolicy) -> Subject {
    Subject::new(tier(24, eviction)).with_neighbour(tier(24, eviction))
}

tier_suite!(lru, || subject(EvictionPolicy::Lru));
tier_suite!(arc, || subject(EvictionPolicy::Arc));
tier_suite!(without_eviction, || subject(EvictionPolicy::None));

#[test]
fn a_chain_loses_its_end_first() {
    let tier = tier(4, EvictionPolicy::Lru);
    put(&tier, &keys(0..4));
    put(&tier, &keys(10..12));
    assert_eq!(present(&tier, &keys(0..4)), [true, true, false, false]);
}

/// The front of a chain is usable without its end, but not the reverse.
#[test]
fn a_chain_longer_than_the_tier_keeps_its_front() {
    for policy in [EvictionPolicy::Lru, EvictionPolicy::Arc] {
        let tier = tier(4, policy);
        put(&tier, &keys(20..24));
        // The second is present, and must not be evicted for the first.
        put(&tier, &[key(1)]);
        let outcomes = put(&tier, &keys(0..6));
        let (stored, full) = (Stored::Stored, Stored::Full);
        assert_eq!(outcomes, [stored, Stored::Present, stored, stored, full, full], "{policy:?}");
        assert_eq!(get(&tier, &keys(0..4)), [Loaded::Hit; 4], "{policy:?}");
    }
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

#[test]
fn arc_resists_a_scan_and_lru_does_not() {
    for (policy, survives) in [(EvictionPolicy::Arc, true), (EvictionPolicy::Lru, false)] {
        let tier = tier(16, policy);
        put(&tier, &keys(0..4));
        for number in 0..4 {
            assert_eq!(get(&tier, &[key(number)]), [Loaded::Hit]);
        }
        for number in 100..200 {
            put(&tier, &[key(number)]);
        }
        assert_eq!(present(&tier, &keys(0..4)), [survives; 4], "{policy:?}");
    }
}
