//! One test per row of the decision table.

use weir_engine::{ChunkBytes, LoadMode, Mechanism, OffloadConfig};
use weir_model::{Nanos, OverheadReason, SignalSource, TierKind, VoidReason};
use weir_router::RouterConfig;
use weir_router::config::{IndexConfig, PolicyConfig, ScorerWeights};
use weir_tier::EvictionPolicy;
use weir_tier::config::{LinkConfig, StoreConfig, TierConfig};

use super::*;

mod limits;

fn arm(role: ArmRole) -> Arm {
    Arm {
        name: "arm".to_owned(),
        preset: "arm".to_owned(),
        role,
        description: String::new(),
        offload: None,
        store_access: None,
        store_measured_on: None,
        processes: crate::plan::Processes::default(),
        engine: None,
        routing: RouterConfig { policy: PolicyConfig::LeastLoaded, seed: 0 },
        routing_is_claim: false,
    }
}

fn link() -> LinkConfig {
    LinkConfig {
        base_latency: Nanos::ZERO,
        per_copy: Nanos::ZERO,
        read_bytes_per_s: 1e9,
        write_bytes_per_s: 1e9,
        lanes: 1,
    }
}

fn offloading() -> Arm {
    let tier = TierConfig {
        kind: TierKind::Host,
        capacity: Bytes::from_gib(1),
        policy: EvictionPolicy::Lru,
        link: link(),
    };
    let offload = OffloadConfig {
        mechanism: Mechanism::Native,
        chunk_tokens: 16,
        chunk_bytes: ChunkBytes::whole(1 << 20),
        prompt_only: true,
        load: LoadMode::Async,
        store_cost_per_chunk: Nanos::ZERO,
        copies_per_chunk: 1,
        tiers: vec![tier],
        store: None,
    };
    Arm { offload: Some(offload), ..arm(ArmRole::Treatment) }
}

fn routing() -> Arm {
    let policy = PolicyConfig::PrecisePrefix {
        weights: ScorerWeights::default(),
        block_tokens: 16,
        index: IndexConfig::default(),
    };
    let routing = RouterConfig { policy, seed: 0 };
    Arm { routing, routing_is_claim: true, ..arm(ArmRole::Treatment) }
}

fn facts(replicas: u32) -> Facts<'static> {
    Facts {
        replicas,
        effective_share: 0.1,
        working_set: Some(Bytes::from_gib(2)),
        regime: Regime::FitsTier,
        longest_offer: None,
        longest_reuse: None,
        doubt: None,
    }
}

fn signals(values: &[(SignalKind, f64)]) -> Signals {
    let mut signals = Signals::default();
    for (kind, value) in values {
        signals.add(*kind, *value, "test");
    }
    signals
}

/// Signals of an offload that stored, was asked and had much to serve.
fn busy(more: &[(SignalKind, f64)]) -> Signals {
    let mut all = vec![
        (SignalKind::PromptTokens, 10_000.0),
        (SignalKind::EligibleTokens, 5_000.0),
        (SignalKind::StoredBytes, 1e9),
        (SignalKind::ExternalQueryTokens, 6_000.0),
    ];
    all.retain(|(kind, _)| more.iter().all(|(other, _)| other != kind));
    all.extend_from_slice(more);
    signals(&all)
}

fn verdict(arm: &Arm, replicas: u32, signals: &Signals) -> Verdict {
    decide(arm, &facts(replicas), signals).verdict
}

#[test]
fn a_window_without_a_first_token_shows_nothing() {
    let seen = signals(&[
        (SignalKind::StoredBytes, 5e9),
        (SignalKind::ExternalQueryTokens, 1e6),
        (SignalKind::PromptTokens, 0.0),
        (SignalKind::EligibleTokens, 0.0),
        (SignalKind::ExternalHitTokens, 0.0),
    ]);
    let decision = decide(&offloading(), &facts(1), &seen);
    assert_eq!(decision.verdict, Verdict::Unverified);
    assert!(decision.explanation.contains("No request got its first token"));
}

#[test]
fn controls_are_controls_unless_something_served_them() {
    let none = Signals::default();
    assert_eq!(verdict(&arm(ArmRole::Control), 1, &none), Verdict::Control);
    assert_eq!(verdict(&arm(ArmRole::ControlAgain), 1, &none), Verdict::Control);
    let hits = signals(&[(SignalKind::ExternalHitTokens, 5.0)]);
    let failed = Verdict::Failed("a control with external hits".to_owned());
    assert_eq!(verdict(&arm(ArmRole::Control), 1, &hits), failed);
}

#[test]
fn a_control_with_a_connector_is_none_and_says_what_it_did() {
    let decided =
        |values: &[(SignalKind, f64)]| decide(&arm(ArmRole::Control), &facts(1), &signals(values));
    let failed = Verdict::Failed("a control with an offload connector".to_owned());
    for (kind, seen) in [
        (SignalKind::StoredBytes, "8 bytes stored, - tokens asked for"),
        (SignalKind::ExternalQueryTokens, "- bytes stored, 8 tokens asked for"),
    ] {
        let decision = decided(&[(kind, 8.0)]);
        assert_eq!(decision.verdict, failed);
        assert_eq!(decision.claims[1].seen, seen, "what was not counted is not 0");
        assert_eq!(decided(&[(kind, 0.0)]).verdict, Verdict::Control);
    }
    let idle = decided(&[(SignalKind::StoredBytes, 0.0), (SignalKind::ExternalQueryTokens, 0.0)]);
    assert_eq!((idle.verdict, idle.claims[1].held), (Verdict::Control, Some(true)));
    assert_eq!(decided(&[]).claims.len(), 1, "nothing has no metric");
}

#[test]
fn a_routing_control_must_have_a_choice_and_spread() {
    let control = arm(ArmRole::RoutingControl);
    let at = |share| signals(&[(SignalKind::RoutingMaxSharePercent, share)]);
    assert_eq!(verdict(&control, 1, &at(100.0)), Verdict::Void(VoidReason::NoChoice));
    assert_eq!(verdict(&control, 4, &at(27.0)), Verdict::Control);
    assert_eq!(verdict(&control, 2, &at(55.0)), Verdict::Control, "two are a choice");
    assert!(matches!(verdict(&control, 4, &at(80.0)), Verdict::Failed(_)));
}

#[test]
fn an_offload_that_nothing_reached_is_void() {
    let idle = signals(&[(SignalKind::StoredBytes, 0.0), (SignalKind::ExternalQueryTokens, 0.0)]);
    assert_eq!(verdict(&offloading(), 1, &idle), Verdict::Void(VoidReason::NoOperation));
}

#[test]
fn an_offload_that_cannot_be_seen_is_unverified() {
    assert_eq!(verdict(&offloading(), 1, &Signals::default()), Verdict::Unverified);
    assert_eq!(verdict(&offloading(), 1, &busy(&[])), Verdict::Unverified, "no hit metric");
}

#[test]
fn reuse_that_stays_on_the_gpu_is_overhead_only() {
    let seen = busy(&[(SignalKind::EligibleTokens, 99.0), (SignalKind::ExternalHitTokens, 99.0)]);
    let held = Facts { regime: Regime::FitsGpu, ..facts(1) };
    let decision = decide(&offloading(), &held, &seen);
    assert_eq!(decision.verdict, Verdict::OverheadOnly(OverheadReason::FitsGpu));
    assert!(decision.remedy.unwrap().contains("gpu_memory_utilization"));
}

#[test]
fn the_effective_share_is_a_sharp_limit() {
    let served = |tokens| busy(&[(SignalKind::ExternalHitTokens, tokens)]);
    assert_eq!(verdict(&offloading(), 1, &served(500.0)), Verdict::Effective);
    assert_ne!(verdict(&offloading(), 1, &served(499.0)), Verdict::Effective);
}

#[test]
fn a_tier_smaller_than_the_working_set_is_too_small_and_says_what_is_needed() {
    let seen = busy(&[
        (SignalKind::ExternalHitTokens, 0.0),
        (SignalKind::TierCapacityBytes, 1e9),
        (SignalKind::EvictedBytes, 5e9),
    ]);
    let decision = decide(&offloading(), &facts(1), &seen);
    assert_eq!(decision.verdict, Verdict::OverheadOnly(OverheadReason::TierTooSmall));
    assert_eq!(
        decision.remedy.as_deref(),
        Some("a tier of at least 2 GiB per replica, the working set")
    );
}

#[test]
fn refused_stores_mean_too_small() {
    let seen = busy(&[
        (SignalKind::ExternalHitTokens, 0.0),
        (SignalKind::TierCapacityBytes, 4e9),
        (SignalKind::StoreFailures, 3.0),
    ]);
    let too_small = Verdict::OverheadOnly(OverheadReason::TierTooSmall);
    assert_eq!(verdict(&offloading(), 1, &seen), too_small);
}

#[test]
fn a_large_tier_that_evicted_is_evicted() {
    let seen = busy(&[
        (SignalKind::ExternalHitTokens, 0.0),
        (SignalKind::TierCapacityBytes, 4e9),
        (SignalKind::EvictedBytes, 5e9),
    ]);
    let decision = decide(&offloading(), &facts(1), &seen);
    assert_eq!(decision.verdict, Verdict::OverheadOnly(OverheadReason::Evicted));
    assert!(decision.remedy.unwrap().starts_with("a tier of up to 8.4 GiB"));
}

#[test]
fn storing_without_ever_serving_and_without_a_reason_is_unverified() {
    let seen = busy(&[(SignalKind::ExternalHitTokens, 0.0), (SignalKind::TierCapacityBytes, 4e9)]);
    assert_eq!(verdict(&offloading(), 1, &seen), Verdict::Unverified);
    // What was not counted is not claimed.
    let why = |stored: Option<f64>, evicted: Option<f64>| {
        let mut seen = busy(&[(SignalKind::ExternalHitTokens, 0.0)]);
        seen.0.remove(&SignalKind::StoredBytes);
        let counted = [(SignalKind::StoredBytes, stored), (SignalKind::EvictedBytes, evicted)];
        for (kind, value) in counted {
            if let Some(value) = value {
                seen.add(kind, value, "test");
            }
        }
        decide(&offloading(), &facts(1), &seen).explanation
    };
    let said = "It served only 0.0 % of the reuse";
    let ends = ": the signals do not say why.";
    for (stored, evicted, though) in [
        (Some(1e9), Some(0.0), ", though it stored blocks and evicted none"),
        (Some(1e9), None, ", though it stored blocks"),
        (None, Some(0.0), ", though it evicted nothing"),
        (None, None, ""),
    ] {
        assert_eq!(why(stored, evicted), format!("{said}{though}{ends}"));
    }
}

/// An offload with a store behind host memory, and one with a disk there.
fn farther() -> [(Arm, SignalKind, SignalKind); 2] {
    let (mut stored, mut disk) = (offloading(), offloading());
    if let (Some(store), Some(tiered)) = (&mut stored.offload, &mut disk.offload) {
        store.store = Some(StoreConfig {
            product: "redis".to_owned(),
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
            let claim = decision.claims.iter().find(|claim| claim.claim.ends_with("served blocks"));
            assert_eq!(claim.unwrap().held, Some(tokens >= 50.0));
        }
        assert!(!nearer.counts());
        // Nobody says what it served: that is not the same as nothing.
        let unseen = decide(&arm, &facts(1), &busy(&[served]));
        assert_eq!(unseen.verdict, Verdict::Unverified);
    }
}

#[test]
fn hits_that_the_answers_contradict_are_no_result() {
    let of = |engines: f64, answers: f64| {
        let mut seen = busy(&[(SignalKind::ExternalHitTokens, engines)]);
        seen.add(SignalKind::ExternalHitTokens, engines, "test");
        seen.add(SignalKind::ExternalHitTokens, answers, "the answers");
        verdict(&offloading(), 1, &seen)
    };
    let failed = Verdict::Failed("hits that the answers contradict".to_owned());
    assert_eq!(of(4_000.0, 0.0), failed);
    assert_eq!(of(4_000.0, 1_999.0), failed);
    assert_eq!(of(0.0, 4_000.0), failed);
    assert_eq!(of(4_000.0, 2_000.0), Verdict::Effective);
    // A request at the edge of a short window: 500 of 10,000 prompt tokens.
    assert_eq!(of(501.0, 0.0), failed);
    assert_eq!(of(500.0, 0.0), Verdict::Effective);
    // Two of the longest, where there are few.
    let of = |engines: f64| {
        let facts = Facts { longest_offer: Some(300), ..facts(1) };
        let mut seen = busy(&[(SignalKind::ExternalHitTokens, engines)]);
        seen.add(SignalKind::ExternalHitTokens, 0.0, "the answers");
        decide(&offloading(), &facts, &seen).verdict
    };
    assert_eq!(of(600.0), Verdict::Effective);
    assert_eq!(of(601.0), failed);
}

#[test]
fn more_than_could_be_served_is_no_result() {
    let of = |served: f64, eligible: f64| {
        let seen =
            [(SignalKind::ExternalHitTokens, served), (SignalKind::EligibleTokens, eligible)];
        verdict(&offloading(), 1, &busy(&seen))
    };
    let failed = Verdict::Failed("hits beyond what could be served".to_owned());
    // A quarter more of 5,000, whose templates are not known.
    assert_eq!(of(6_250.0, 5_000.0), Verdict::Effective);
    assert_eq!(of(6_251.0, 5_000.0), failed);
    // Requests at the edges: 500 of 10,000 prompt tokens.
    assert_eq!(of(700.0, 200.0), Verdict::Effective);
    assert_eq!(of(701.0, 200.0), failed);
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
    let failed = Verdict::Failed("hits that the store contradicts".to_owned());
    // 5,000 tokens were eligible. Keys of others do not make it the arm's store, nor their absence.
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
        // Others read and write as much as the mechanism.
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

#[test]
fn evictions_of_the_farthest_tier_are_named_where_nearer_ones_served() {
    for (arm, hits, held) in farther() {
        let tier = arm.offload.as_ref().unwrap().farthest().unwrap();
        let mut seen = busy(&[(SignalKind::ExternalHitTokens, 4_000.0), (hits, 0.0), (held, 3.0)]);
        seen.add_of(TierKind::Host, SignalKind::EvictedBytes, 5e9, "host memory's");
        seen.add_of(tier, SignalKind::EvictedBytes, 3e6, "the tier's own");
        let decision = decide(&arm, &facts(1), &seen);
        assert_eq!(decision.verdict, Verdict::OverheadOnly(OverheadReason::NearerTier));
        assert!(
            decision.explanation.ends_with("It let go of 2.9 MiB."),
            "{}",
            decision.explanation
        );
        assert!(decision.remedy.unwrap().contains("room"));
    }
}

#[test]
fn refusals_of_the_farthest_tier_are_named_with_their_count() {
    for (arm, hits, held) in farther() {
        let tier = arm.offload.as_ref().unwrap().farthest().unwrap();
        let mut seen = busy(&[(SignalKind::ExternalHitTokens, 4_000.0), (hits, 0.0), (held, 3.0)]);
        let silent = decide(&arm, &facts(1), &seen);
        assert!(!silent.explanation.contains("refused"), "{}", silent.explanation);
        seen.add_of(TierKind::Host, SignalKind::StoreFailures, 7.0, "host memory's");
        let before = decide(&arm, &facts(1), &seen);
        let refused = "Host memory, which leads there, refused 7 stores (host memory's).";
        assert!(before.explanation.ends_with(refused), "{}", before.explanation);
        assert!(before.remedy.unwrap().starts_with("a larger nearest tier"));
        seen.add_of(tier, SignalKind::StoreFailures, 24.0, "the tier's own");
        let decision = decide(&arm, &facts(1), &seen);
        assert_eq!(decision.verdict, Verdict::OverheadOnly(OverheadReason::NearerTier));
        assert!(decision.explanation.ends_with("It refused 24 stores (the tier's own)."));
        assert!(decision.remedy.unwrap().contains("room"));
    }
}

#[test]
fn reuse_that_did_not_come_round_in_the_window_is_not_held_by_the_gpu() {
    let seen = busy(&[(SignalKind::EligibleTokens, 99.0), (SignalKind::ExternalHitTokens, 99.0)]);
    for (regime, reason, counts) in [
        (Regime::FitsGpu, OverheadReason::FitsGpu, true),
        (Regime::FitsTier, OverheadReason::NoReuseInWindow, false),
        (Regime::Overflows, OverheadReason::NoReuseInWindow, false),
        (Regime::EndsBeforeReuse, OverheadReason::NoReuseInWindow, false),
        (Regime::Unknown, OverheadReason::FitsGpu, true),
    ] {
        let decision = decide(&offloading(), &Facts { regime, ..facts(1) }, &seen);
        assert_eq!(decision.verdict, Verdict::OverheadOnly(reason));
        assert_eq!(decision.verdict.counts(), counts);
    }
}

#[test]
fn a_chunk_that_no_request_fills_is_the_reason_that_nothing_acted() {
    let idle = signals(&[(SignalKind::StoredBytes, 0.0), (SignalKind::ExternalQueryTokens, 9e3)]);
    let of = |longest, seen: &Signals| {
        let facts = Facts { longest_offer: Some(longest), ..facts(1) };
        decide(&offloading(), &facts, seen)
    };
    // Chunks of 16 tokens.
    let decision = of(15, &idle);
    assert_eq!(decision.verdict, Verdict::Void(VoidReason::NoOperation));
    assert!(decision.explanation.contains("a chunk of 16 tokens: the longest has 15"));
    assert!(!of(16, &idle).explanation.contains("a chunk of"));
    let stored = busy(&[(SignalKind::ExternalHitTokens, 900.0)]);
    assert_eq!(of(15, &stored).verdict, Verdict::Effective, "what was seen decides");
}

#[test]
fn a_chunk_longer_than_what_requests_share_is_the_reason_that_nothing_was_served() {
    let of = |longest, hits| {
        let fits = Some(Bytes::from_gib(1));
        let facts = Facts { longest_reuse: Some(longest), working_set: fits, ..facts(1) };
        let evicted = (SignalKind::EvictedBytes, 1e6);
        let seen = busy(&[(SignalKind::ExternalHitTokens, hits), evicted]);
        decide(&offloading(), &facts, &seen).verdict
    };
    // Chunks of 16 tokens.
    let long = Verdict::OverheadOnly(OverheadReason::ChunkTooLong);
    assert_eq!(of(15, 0.0), long);
    assert!(!long.counts());
    assert_eq!(of(16, 0.0), Verdict::OverheadOnly(OverheadReason::Evicted));
    assert_eq!(of(15, 900.0), Verdict::Effective, "what was seen decides");
}

/// Signals of a precise router: prompt tokens, hits of the chosen, of chance and of the best.
fn routed(routed: f64, uniform: f64, best: f64) -> Signals {
    signals(&[
        (SignalKind::PromptTokens, 10_000.0),
        (SignalKind::IndexEvents, 10.0),
        (SignalKind::IndexLookups, 10.0),
        (SignalKind::IndexHits, 10.0),
        (SignalKind::RoutedHitTokens, routed),
        (SignalKind::UniformHitTokens, uniform),
        (SignalKind::BestHitTokens, best),
    ])
}

#[test]
fn routing_rows() {
    let arm = routing();
    let good = routed(5000.0, 2000.0, 5500.0);
    assert_eq!(verdict(&arm, 1, &good), Verdict::Void(VoidReason::NoChoice));
    assert_eq!(verdict(&arm, 4, &good), Verdict::Effective);
    let same = routed(5000.0, 5000.0, 5050.0);
    assert_eq!(verdict(&arm, 4, &same), Verdict::OverheadOnly(OverheadReason::FitsGpu));
    let vain = routed(2000.0, 2000.0, 5500.0);
    assert_eq!(verdict(&arm, 4, &vain), Verdict::OverheadOnly(OverheadReason::Evicted));
    assert_eq!(verdict(&arm, 4, &Signals::default()), Verdict::Unverified);
}

#[test]
fn a_precise_index_without_events_or_questions_is_void() {
    let mut silent = routed(5000.0, 2000.0, 5500.0);
    silent.0.remove(&SignalKind::IndexEvents);
    silent.add(SignalKind::IndexEvents, 0.0, "test");
    assert_eq!(verdict(&routing(), 4, &silent), Verdict::Void(VoidReason::NoEvents));
    let mut unasked = routed(5000.0, 2000.0, 5500.0);
    unasked.0.remove(&SignalKind::IndexLookups);
    unasked.add(SignalKind::IndexLookups, 0.0, "test");
    assert_eq!(verdict(&routing(), 4, &unasked), Verdict::Void(VoidReason::NoOperation));
}

#[test]
fn an_arm_with_two_claims_is_worth_its_weaker_one() {
    let arm = Arm { offload: offloading().offload, ..routing() };
    let mut all = routed(5000.0, 2000.0, 5500.0);
    for (kind, value) in [
        (SignalKind::EligibleTokens, 5000.0),
        (SignalKind::StoredBytes, 1e9),
        (SignalKind::ExternalQueryTokens, 6000.0),
        (SignalKind::ExternalHitTokens, 4000.0),
    ] {
        all.add(kind, value, "test");
    }
    let good = decide(&arm, &facts(4), &all);
    assert_eq!(good.verdict, Verdict::Effective);
    assert!(good.claims.len() >= 7, "the claims of both halves");
    assert_eq!(verdict(&arm, 1, &all), Verdict::Void(VoidReason::NoChoice));
    all.0.remove(&SignalKind::ExternalHitTokens);
    all.add(SignalKind::ExternalHitTokens, 0.0, "test");
    all.add(SignalKind::EvictedBytes, 1e9, "test");
    assert_eq!(verdict(&arm, 4, &all), Verdict::OverheadOnly(OverheadReason::Evicted));
}

/// Verdict and reason of an arm whose mechanism was there.
fn told(arm: &Arm, facts: &Facts<'_>, more: &[(SignalKind, f64)]) -> (Verdict, String) {
    let decision = decide(arm, facts, &busy(more));
    (decision.verdict, decision.explanation)
}

#[test]
fn a_mechanism_that_said_that_it_would_recompute_is_void_unless_it_served() {
    let doubted = Facts { doubt: Some("degraded mode (recompute)"), ..facts(1) };
    let void = Verdict::Void(VoidReason::NoOperation);
    let nothing = [(SignalKind::ExternalHitTokens, 0.0)];
    let (verdict, why) = told(&offloading(), &doubted, &nothing);
    assert_eq!(verdict, void);
    assert!(why.contains("degraded mode (recompute)"), "{why}");
    assert_ne!(told(&offloading(), &facts(1), &nothing).0, void);
    let served = [(SignalKind::ExternalHitTokens, 4_000.0)];
    assert_eq!(told(&offloading(), &doubted, &served).0, Verdict::Effective);
}

#[test]
fn a_store_without_a_key_and_a_disk_without_a_file_make_an_arm_void() {
    let void = Verdict::Void(VoidReason::NoOperation);
    let words = ["No key of it is in redis", "No file of it is on the disk"];
    for ((arm, hits, held), words) in farther().into_iter().zip(words) {
        // Questions about a store go over its sockets too: 49 of 5,000 tokens are none of its hits.
        let nearer = [(SignalKind::ExternalHitTokens, 4_000.0), (hits, 49.0), (held, 0.0)];
        let mut seen = busy(&nearer);
        let tier = arm.offload.as_ref().unwrap().farthest().unwrap();
        // What host memory evicts says nothing of what is behind it.
        seen.add_of(TierKind::Host, SignalKind::EvictedBytes, 3e7, "test");
        let decision = decide(&arm, &facts(1), &seen);
        assert_eq!(decision.verdict, void);
        assert!(decision.explanation.starts_with(words), "{}", decision.explanation);
        assert!(decision.explanation.ends_with("what was served came from nearer tiers."));
        // Why it is empty, where it says so.
        let mut refused = seen.clone();
        let source = SignalSource::of("redis INFO").metric("errorstat_READONLY 12");
        refused.add_of(tier, SignalKind::StoreFailures, 12.0, source);
        let decision = decide(&arm, &facts(1), &refused);
        let words = "It refused 12 stores (redis INFO (errorstat_READONLY 12)).";
        assert!(decision.explanation.ends_with(words), "{}", decision.explanation);
        // Or why nothing came there.
        let mut before = seen.clone();
        before.add_of(TierKind::Host, SignalKind::StoreFailures, 9.0, "simulator");
        let decision = decide(&arm, &facts(1), &before);
        assert!(decision.explanation.contains("refused 9 stores"), "{}", decision.explanation);
        assert!(decision.remedy.unwrap().contains("larger nearest tier"));
        // It holds something, or all of what it held may have been evicted by itself.
        let behind = Verdict::OverheadOnly(OverheadReason::NearerTier);
        let filled = busy(&[&nearer[..2], &[(held, 3.0)]].concat());
        assert_eq!(verdict(&arm, 1, &filled), behind);
        seen.add_of(tier, SignalKind::EvictedBytes, 1e6, "test");
        assert_eq!(verdict(&arm, 1, &seen), behind);
    }
}

/// Who found no key where bytes came from did not look well; one against one is open.
#[test]
fn a_count_of_nothing_beside_hits_is_a_contradiction_and_not_void() {
    for (arm, hits, held) in farther() {
        let mut seen = busy(&[(SignalKind::ExternalHitTokens, 4_000.0), (held, 0.0)]);
        seen.add(hits, 4_000.0, SignalSource::of("the mechanism"));
        let decision = decide(&arm, &facts(1), &seen);
        assert_eq!(decision.verdict, Verdict::Unverified);
        let words =
            "4000 tokens were served out of it (the mechanism): they contradict each other.";
        assert!(decision.explanation.ends_with(words), "{}", decision.explanation);
        // The same part says it again, by another of its counters.
        seen.add(hits, 4_000.0, SignalSource::of("the mechanism").metric("the same"));
        assert_eq!(verdict(&arm, 1, &seen), Verdict::Unverified);
        // Another part says something else.
        seen.add(hits, 100.0, SignalSource::of("the engine"));
        assert_eq!(verdict(&arm, 1, &seen), Verdict::Unverified);
        // Another part says the same.
        seen.add(hits, 3_980.0, SignalSource::of("the store's INFO"));
        let decision = decide(&arm, &facts(1), &seen);
        assert_eq!(decision.verdict, Verdict::Effective);
        let claim = decision.claims.iter().find(|claim| claim.claim == "what it held was counted");
        let claim = claim.unwrap();
        assert_eq!(claim.held, Some(false));
        assert!(claim.seen.starts_with("0 at the end, and 4000 tokens"), "{}", claim.seen);
        // A count of nothing that was not made is none.
        let mut uncounted = busy(&[(SignalKind::ExternalHitTokens, 4_000.0)]);
        uncounted.add(hits, 4_000.0, SignalSource::of("the mechanism"));
        let decision = decide(&arm, &facts(1), &uncounted);
        assert_eq!(decision.verdict, Verdict::Effective);
        assert!(decision.claims.iter().all(|claim| claim.held != Some(false)));
    }
}

#[test]
fn a_tier_with_room_that_takes_nothing_is_void_and_one_without_room_is_too_small() {
    let of = |capacity: f64, refused: f64| {
        let more = [
            (SignalKind::ExternalHitTokens, 0.0),
            (SignalKind::StoredBytes, 0.0),
            (SignalKind::StoreFailures, refused),
            (SignalKind::TierCapacityBytes, capacity),
        ];
        told(&offloading(), &facts(1), &more)
    };
    let (large, small) = (4.0 * (1u64 << 30) as f64, (1u64 << 20) as f64);
    let (verdict, why) = of(large, 100.0);
    assert_eq!(verdict, Verdict::Void(VoidReason::NoOperation));
    assert!(why.starts_with("It refused all that it was offered"), "{why}");
    assert_eq!(of(large, 0.0).0, Verdict::Void(VoidReason::NoOperation));
    assert_eq!(of(small, 100.0).0, Verdict::OverheadOnly(OverheadReason::TierTooSmall));
}
