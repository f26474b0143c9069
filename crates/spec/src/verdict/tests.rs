use weir_engine::{ChunkBytes, LoadMode, OffloadConfig};
use weir_model::{
    FarthestTier, Inaction, Mechanism, Nanos, OffloadReason, OverheadReason, SignalSource,
    TierKind, TokenShare, VoidReason,
};
use weir_router::RouterConfig;
use weir_router::config::{IndexConfig, Normalization, PolicyConfig, ScorerWeights};
use weir_tier::EvictionPolicy;
use weir_tier::config::{LinkConfig, StoreConfig, TierConfig};

use super::*;

mod farthest;
mod limits;
mod placebos;

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
        normalization: Normalization::MinMax,
        block_tokens: 16,
        index: IndexConfig::default(),
        scrape_interval: PolicyConfig::SCRAPE_INTERVAL,
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
        startup_warning: None,
        index_block: None,
    }
}

fn signals(values: &[(SignalKind, f64)]) -> Signals {
    let mut signals = Signals::default();
    for (kind, value) in values {
        signals.add(*kind, *value, "test");
    }
    signals
}

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
    assert_eq!(decision.reason, Reason::from(OffloadReason::NoFirstToken));
}

#[test]
fn controls_are_controls_unless_something_served_them() {
    let none = Signals::default();
    assert_eq!(verdict(&arm(ArmRole::Control), 1, &none), Verdict::Control);
    assert_eq!(verdict(&arm(ArmRole::ControlAgain), 1, &none), Verdict::Control);
    let hits = signals(&[(SignalKind::ExternalHitTokens, 5.0)]);
    let failed = Verdict::Failed(FailureReason::ControlServed);
    assert_eq!(verdict(&arm(ArmRole::Control), 1, &hits), failed);
}

#[test]
fn a_control_with_a_connector_is_none_and_says_what_it_did() {
    let decided =
        |values: &[(SignalKind, f64)]| decide(&arm(ArmRole::Control), &facts(1), &signals(values));
    let failed = Verdict::Failed(FailureReason::ControlConnected);
    for (kind, stored_bytes, asked_tokens) in [
        (SignalKind::StoredBytes, Some(8.0), None),
        (SignalKind::ExternalQueryTokens, None, Some(8.0)),
    ] {
        let decision = decided(&[(kind, 8.0)]);
        assert_eq!(decision.verdict, failed);
        let seen = Claimed::NothingOutsideGpu { stored_bytes, asked_tokens };
        assert_eq!(decision.claims[1].claim, seen, "what was not counted is not 0");
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
    assert_eq!(decision.remedy, Some(Remedy::ExceedGpu));
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
    assert_eq!(decision.remedy, Some(Remedy::LargerTier(Some(Bytes::from_gib(2)))));
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
    assert_eq!(decision.remedy, Some(Remedy::LargerOrKeeping(Bytes(9_000_000_000))));
}

#[test]
fn storing_without_ever_serving_and_without_a_reason_is_unverified() {
    let seen = busy(&[(SignalKind::ExternalHitTokens, 0.0), (SignalKind::TierCapacityBytes, 4e9)]);
    assert_eq!(verdict(&offloading(), 1, &seen), Verdict::Unverified);
    let why = |stored: Option<f64>, evicted: Option<f64>| {
        let mut seen = busy(&[(SignalKind::ExternalHitTokens, 0.0)]);
        seen.0.remove(&SignalKind::StoredBytes);
        let counted = [(SignalKind::StoredBytes, stored), (SignalKind::EvictedBytes, evicted)];
        for (kind, value) in counted {
            if let Some(value) = value {
                seen.add(kind, value, "test");
            }
        }
        decide(&offloading(), &facts(1), &seen).reason
    };
    let served = TokenShare { part: 0.0, whole: 5_000.0 };
    for (stored, evicted) in
        [(Some(1e9), Some(0.0)), (Some(1e9), None), (None, Some(0.0)), (None, None)]
    {
        let known = (stored.is_some(), evicted.is_some());
        let reason = OffloadReason::Unexplained { served, stored: known.0, kept: known.1 };
        assert_eq!(why(stored, evicted), Reason::from(reason));
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
    let failed = Verdict::Failed(FailureReason::AnswersContradict);
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
    let failed = Verdict::Failed(FailureReason::ServedTooMuch);
    // A quarter more of 5,000, whose templates are not known.
    assert_eq!(of(6_250.0, 5_000.0), Verdict::Effective);
    assert_eq!(of(6_251.0, 5_000.0), failed);
    // Requests at the edges: 500 of 10,000 prompt tokens.
    assert_eq!(of(700.0, 200.0), Verdict::Effective);
    assert_eq!(of(701.0, 200.0), failed);
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
    let decision = of(15, &idle);
    assert_eq!(decision.verdict, Verdict::Void(VoidReason::NoOperation));
    let unfilled = Inaction::NoChunkFilled { chunk_tokens: 16, longest: 15 };
    assert_eq!(decision.reason, Reason::Inaction(unfilled));
    assert_eq!(of(16, &idle).reason, Reason::NoSource(Unseen::Served));
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
    let long = Verdict::OverheadOnly(OverheadReason::ChunkTooLong);
    assert_eq!(of(15, 0.0), long);
    assert!(!long.counts());
    assert_eq!(of(16, 0.0), Verdict::OverheadOnly(OverheadReason::Evicted));
    assert_eq!(of(15, 900.0), Verdict::Effective, "what was seen decides");
}

/// Prompt tokens, hits of the chosen, of chance and of the best.
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

fn why(arm: &Arm, facts: &Facts<'_>, more: &[(SignalKind, f64)]) -> (Verdict, Reason) {
    let decision = decide(arm, facts, &busy(more));
    (decision.verdict, decision.reason)
}

#[test]
fn a_mechanism_that_said_that_it_would_recompute_is_void_unless_it_served() {
    let line = "degraded mode (recompute)";
    let warned = Facts { startup_warning: Some(line), ..facts(1) };
    let void = Verdict::Void(VoidReason::NoOperation);
    let nothing = [(SignalKind::ExternalHitTokens, 0.0)];
    let reason = Reason::Inaction(Inaction::StartupWarning { line: line.to_owned() });
    assert_eq!(why(&offloading(), &warned, &nothing), (void.clone(), reason));
    assert_ne!(why(&offloading(), &facts(1), &nothing).0, void);
    let served = [(SignalKind::ExternalHitTokens, 4_000.0)];
    assert_eq!(why(&offloading(), &warned, &served).0, Verdict::Effective);
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
        why(&offloading(), &facts(1), &more)
    };
    let (large, small) = (4.0 * (1u64 << 30) as f64, (1u64 << 20) as f64);
    let void = Verdict::Void(VoidReason::NoOperation);
    let refused = Inaction::RefusedAll { capacity: Bytes::from_gib(4) };
    let refused = Reason::Inaction(refused);
    assert_eq!(of(large, 100.0), (void.clone(), refused));
    assert_eq!(of(large, 0.0), (void, Reason::Inaction(Inaction::StoredNothing)));
    assert_eq!(of(small, 100.0).0, Verdict::OverheadOnly(OverheadReason::TierTooSmall));
}
