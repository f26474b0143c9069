//! The tier that an arm is about, by its own signals.

use weir_model::Product;

use super::*;

/// With a store behind host memory, and with a disk there.
pub(super) fn farther() -> [(Arm, SignalKind, SignalKind); 2] {
    let (mut stored, mut disk) = (offloading(), offloading());
    if let (Some(store), Some(tiered)) = (&mut stored.offload, &mut disk.offload) {
        store.store = Some(StoreConfig {
            product: Product::Redis,
            capacity: Bytes::from_gib(4),
            policy: EvictionPolicy::Lru,
            link: link(),
            client_bytes_per_s: 1e9,
            lookup_latency: Nanos::ZERO,
            lookup_per_key: Nanos::ZERO,
        });
        let farther = TierConfig { kind: TierKind::Disk, ..tiered.tiers[0].clone() };
        tiered.tiers.push(farther);
    }
    [
        (stored, SignalKind::RemoteHitTokens, SignalKind::StoreKeys),
        (disk, SignalKind::DiskHitTokens, SignalKind::DiskFiles),
    ]
}

#[test]
fn an_arm_is_worth_what_its_farthest_tier_did() {
    let served = (SignalKind::ExternalHitTokens, 4_000.0);
    let nearer = Verdict::OverheadOnly(OverheadReason::NearerTier);
    for (arm, hits, _) in farther() {
        // 5,000 tokens were eligible: less than 50 of them are a rounding.
        for (tokens, expected) in [(0.0, &nearer), (49.0, &nearer), (50.0, &Verdict::Effective)] {
            let decision = decide(&arm, &facts(1), &busy(&[served, (hits, tokens)]));
            assert_eq!(&decision.verdict, expected, "{hits:?} {tokens}");
            let tier = arm.offload.as_ref().unwrap().farthest().unwrap();
            let claim = Claimed::FarthestServed { tier, tokens: Some(tokens) };
            let held = Some(tokens >= 50.0);
            assert!(decision.claims.contains(&Claim { claim, held }), "{:?}", decision.claims);
        }
        assert!(!nearer.counts());
        // A missing count is not zero.
        let unseen = decide(&arm, &facts(1), &busy(&[served]));
        assert_eq!(unseen.verdict, Verdict::Unverified);
    }
}

#[test]
fn a_store_that_gave_nothing_away_is_not_the_one_that_served() {
    let [(arm, hits, keys), (disk, disk_hits, _)] = farther();
    let of = |arm: &Arm, kind, mechanism: f64, store: f64, held: f64| {
        let mut seen = busy(&[(SignalKind::ExternalHitTokens, 4_000.0), (keys, held)]);
        let lookups = SignalSource { at_lookup: true, ..SignalSource::of("mechanism") };
        seen.add(kind, mechanism, lookups);
        seen.add(kind, store, "store");
        verdict(arm, 1, &seen)
    };
    let failed = Verdict::Failed(FailureReason::StoreContradicts);
    // 5,000 tokens were eligible. Keys of others neither make it the arm's store nor disprove it.
    for held in [0.0, 3.0] {
        assert_eq!(of(&arm, hits, 50.0, 49.0, held), failed);
        assert_eq!(of(&arm, hits, 1_800.0, 1.0, held), failed);
    }
    assert_eq!(of(&arm, hits, 1_800.0, 50.0, 3.0), Verdict::Effective);
    let nearer = Verdict::OverheadOnly(OverheadReason::NearerTier);
    assert_eq!(of(&arm, hits, 49.0, 1.0, 3.0), nearer, "neither says that it served");
    assert_eq!(of(&disk, disk_hits, 1_800.0, 1.0, 3.0), Verdict::Effective, "a disk says nothing");
}

#[test]
fn a_store_that_gains_no_keys_is_not_shown_to_be_the_arms() {
    let [(arm, hits, keys), _] = farther();
    let of = |chunks: f64, added: f64, counted: Option<f64>| {
        let mut seen = busy(&[(SignalKind::ExternalHitTokens, 4_000.0), (hits, 3_000.0)]);
        for who in ["mechanism", "store INFO"] {
            let bytes = chunks * f64::from(1 << 20);
            seen.add_of(TierKind::Remote, SignalKind::StoredBytes, bytes, who);
        }
        seen.add(SignalKind::StoreKeysAdded, added, "store");
        if let Some(count) = counted {
            seen.add(keys, count, "store");
        }
        verdict(&arm, 1, &seen)
    };
    assert_eq!(of(24.0, 11.0, None), Verdict::Unverified);
    assert_eq!(of(24.0, 12.0, None), Verdict::Effective);
    assert_eq!(of(7.0, 0.0, None), Verdict::Effective, "they may be on their way");
    assert_eq!(of(24.0, 0.0, Some(24.0)), Verdict::Effective, "its own keys were counted there");
}

/// Nearer tiers served 4,000 of 5,000 tokens.
fn behind(tier: TierKind, refused: Option<Signal>, evicted: Option<Bytes>) -> Reason {
    let served = TokenShare { part: 4_000.0, whole: 5_000.0 };
    Reason::from(OffloadReason::NearerServed { tier, served, refused, evicted })
}

fn refusal(tier: TierKind, stores: f64, source: impl Into<SignalSource>) -> Signal {
    Signal { value: stores, source: source.into(), tier: Some(tier) }
}

#[test]
fn evictions_of_the_farthest_tier_are_named_where_nearer_ones_served() {
    for (arm, hits, held) in farther() {
        let tier = arm.offload.as_ref().unwrap().farthest().unwrap();
        let mut seen = busy(&[(SignalKind::ExternalHitTokens, 4_000.0), (hits, 0.0), (held, 3.0)]);
        seen.add_of(TierKind::Host, SignalKind::EvictedBytes, 5e9, "host memory's");
        seen.add_of(tier, SignalKind::EvictedBytes, 3e6, "the tier's own");
        let decision = decide(&arm, &facts(1), &seen);
        assert_eq!(decision.verdict, Verdict::OverheadOnly(OverheadReason::NearerTier));
        let evicted = Some(Bytes(3_000_000));
        assert_eq!(decision.reason, behind(tier, None, evicted));
        assert_eq!(decision.remedy, Some(Remedy::RoomInTier));
    }
}

#[test]
fn refusals_of_the_farthest_tier_are_named_with_their_count() {
    for (arm, hits, held) in farther() {
        let tier = arm.offload.as_ref().unwrap().farthest().unwrap();
        let mut seen = busy(&[(SignalKind::ExternalHitTokens, 4_000.0), (hits, 0.0), (held, 3.0)]);
        let silent = decide(&arm, &facts(1), &seen);
        assert_eq!(silent.reason, behind(tier, None, None));
        seen.add_of(TierKind::Host, SignalKind::StoreFailures, 7.0, "host memory's");
        let before = decide(&arm, &facts(1), &seen);
        let refused = refusal(TierKind::Host, 7.0, "host memory's");
        assert_eq!(before.reason, behind(tier, Some(refused), None));
        assert_eq!(before.remedy, Some(Remedy::LargerNearestOrFaster));
        seen.add_of(tier, SignalKind::StoreFailures, 24.0, "the tier's own");
        let decision = decide(&arm, &facts(1), &seen);
        assert_eq!(decision.verdict, Verdict::OverheadOnly(OverheadReason::NearerTier));
        let refused = refusal(tier, 24.0, "the tier's own");
        assert_eq!(decision.reason, behind(tier, Some(refused), None));
        assert_eq!(decision.remedy, Some(Remedy::RoomInTier));
    }
}

#[test]
fn a_store_without_a_key_and_a_disk_without_a_file_make_an_arm_void() {
    let void = Verdict::Void(VoidReason::NoOperation);
    let redis = FarthestTier::Store { product: Product::Redis };
    for ((arm, hits, held), empty) in farther().into_iter().zip([redis, FarthestTier::Disk]) {
        let reason = |refused| {
            let (tier, nearer_served) = (empty.clone(), true);
            Reason::Inaction(Inaction::FarthestEmpty { tier, nearer_served, refused })
        };
        // Lookups go over a store's sockets too: 49 of 5,000 tokens are no hits.
        let nearer = [(SignalKind::ExternalHitTokens, 4_000.0), (hits, 49.0), (held, 0.0)];
        let mut seen = busy(&nearer);
        let tier = arm.offload.as_ref().unwrap().farthest().unwrap();
        // Evictions of host memory do not concern the tier behind it.
        seen.add_of(TierKind::Host, SignalKind::EvictedBytes, 3e7, "test");
        let decision = decide(&arm, &facts(1), &seen);
        assert_eq!(decision.verdict, void);
        assert_eq!(decision.reason, reason(None));
        assert_eq!(decision.remedy, Some(Remedy::Check(CheckSetup::Place(tier))));
        let mut refused = seen.clone();
        let source = SignalSource::of("redis INFO").metric("errorstat_READONLY 12");
        refused.add_of(tier, SignalKind::StoreFailures, 12.0, source.clone());
        let decision = decide(&arm, &facts(1), &refused);
        assert_eq!(decision.reason, reason(Some(refusal(tier, 12.0, source))));
        let mut before = seen.clone();
        before.add_of(TierKind::Host, SignalKind::StoreFailures, 9.0, "simulator");
        let decision = decide(&arm, &facts(1), &before);
        let by_host = refusal(TierKind::Host, 9.0, "simulator");
        assert_eq!(decision.reason, reason(Some(by_host)));
        assert_eq!(decision.remedy, Some(Remedy::LargerNearestOrFaster));
        // It holds something, or evicted everything itself.
        let behind = Verdict::OverheadOnly(OverheadReason::NearerTier);
        let filled = busy(&[&nearer[..2], &[(held, 3.0)]].concat());
        assert_eq!(verdict(&arm, 1, &filled), behind);
        seen.add_of(tier, SignalKind::EvictedBytes, 1e6, "test");
        assert_eq!(verdict(&arm, 1, &seen), behind);
    }
}

/// Several sources of hits refute a count of no keys; one against one is undecided.
#[test]
fn a_count_of_nothing_beside_hits_is_a_contradiction_and_not_void() {
    for (arm, hits, held) in farther() {
        let mut seen = busy(&[(SignalKind::ExternalHitTokens, 4_000.0), (held, 0.0)]);
        seen.add(hits, 4_000.0, SignalSource::of("the mechanism"));
        let decision = decide(&arm, &facts(1), &seen);
        assert_eq!(decision.verdict, Verdict::Unverified);
        let tier = arm.offload.as_ref().unwrap().farthest().unwrap();
        let source = SignalSource::of("the mechanism");
        let served = Signal { value: 4_000.0, source, tier: None };
        let both = Inaction::EmptyAndServed { tier, served: served.clone() };
        assert_eq!(decision.reason, Reason::Inaction(both));
        // The same source reports it by another counter.
        seen.add(hits, 4_000.0, SignalSource::of("the mechanism").metric("the same"));
        assert_eq!(verdict(&arm, 1, &seen), Verdict::Unverified);
        seen.add(hits, 100.0, SignalSource::of("the engine"));
        assert_eq!(verdict(&arm, 1, &seen), Verdict::Unverified);
        seen.add(hits, 3_980.0, SignalSource::of("the store's INFO"));
        let decision = decide(&arm, &facts(1), &seen);
        assert_eq!(decision.verdict, Verdict::Effective);
        let claim = Claim { claim: Claimed::HeldCounted { served }, held: Some(false) };
        assert!(decision.claims.contains(&claim), "{:?}", decision.claims);
        // A missing count is not a count of zero.
        let mut uncounted = busy(&[(SignalKind::ExternalHitTokens, 4_000.0)]);
        uncounted.add(hits, 4_000.0, SignalSource::of("the mechanism"));
        let decision = decide(&arm, &facts(1), &uncounted);
        assert_eq!(decision.verdict, Verdict::Effective);
        assert!(decision.claims.iter().all(|claim| claim.held != Some(false)));
    }
}
