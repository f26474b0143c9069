//! The limits of each condition, from both sides, and their reasons.

use super::farthest::farther;
use super::*;

fn share_claim(decision: &Decision) -> Option<bool> {
    let is_it = |claim: &&Claim| matches!(claim.claim, Claimed::ServedEnough { .. });
    decision.claims.iter().find(is_it).expect("each offload has it").held
}

#[test]
fn of_nothing_nothing_is_more_than_a_rounding() {
    assert!(!is_more_than_rounding(0.0, 0.0));
    assert!(is_more_than_rounding(1.0, 100.0) && !is_more_than_rounding(1.0, 101.0));
}

#[test]
fn one_counter_of_a_mechanism_is_enough_to_see_it() {
    for missing in [SignalKind::StoredBytes, SignalKind::ExternalQueryTokens] {
        let mut seen = busy(&[(SignalKind::ExternalHitTokens, 4_000.0)]);
        seen.0.remove(&missing);
        assert_eq!(verdict(&offloading(), 1, &seen), Verdict::Effective, "{missing:?}");
    }
}

#[test]
fn counters_of_nothing_hold_no_claim() {
    let idle = signals(&[(SignalKind::StoredBytes, 0.0), (SignalKind::ExternalQueryTokens, 0.0)]);
    let decision = decide(&offloading(), &facts(1), &idle);
    let held: Vec<Option<bool>> = decision.claims.iter().map(|claim| claim.held).collect();
    assert_eq!(held, [Some(false); 2]);
}

#[test]
fn nothing_served_is_never_enough() {
    let facts = Facts { effective_share: 0.0, ..facts(1) };
    let seen = busy(&[(SignalKind::ExternalHitTokens, 0.0), (SignalKind::EvictedBytes, 0.0)]);
    let decision = decide(&offloading(), &facts, &seen);
    assert_eq!(
        (decision.verdict.clone(), share_claim(&decision)),
        (Verdict::Unverified, Some(false))
    );
}

#[test]
fn a_hundredth_of_the_prompts_is_reuse_and_less_is_none() {
    let of = |eligible| {
        let served =
            [(SignalKind::EligibleTokens, eligible), (SignalKind::ExternalHitTokens, eligible)];
        decide(&offloading(), &Facts { regime: Regime::FitsGpu, ..facts(1) }, &busy(&served))
    };
    let (enough, less) = (of(100.0), of(99.0));
    assert_eq!((enough.verdict.clone(), share_claim(&enough)), (Verdict::Effective, Some(true)));
    assert_eq!(
        enough.reason,
        Reason::from(OffloadReason::Served(TokenShare { part: 100.0, whole: 100.0 }))
    );
    assert_eq!(less.verdict, Verdict::OverheadOnly(OverheadReason::FitsGpu));
    assert_eq!(share_claim(&less), Some(false), "all of next to nothing shows nothing");
}

#[test]
fn prompts_that_nobody_asks_twice_are_told_from_those_that_the_gpu_holds() {
    let why = |seen: Option<f64>| {
        let nothing = [(SignalKind::EligibleTokens, 0.0), (SignalKind::ExternalHitTokens, 0.0)];
        let mut signals = busy(&nothing);
        if let Some(tokens) = seen {
            signals.add(SignalKind::SeenTokens, tokens, "test");
        }
        let held = Facts { regime: Regime::FitsGpu, ..facts(1) };
        decide(&offloading(), &held, &signals).reason
    };
    let is_held = |of: &Reason| matches!(of, Reason::Offload(OffloadReason::FitsGpu { .. }));
    assert_eq!(why(Some(99.0)), Reason::from(OffloadReason::NothingAskedTwice));
    assert_eq!(why(Some(0.0)), Reason::from(OffloadReason::NothingAskedTwice));
    assert!(is_held(&why(Some(100.0))));
    assert!(is_held(&why(None)));
}

#[test]
fn a_tier_as_large_as_the_working_set_is_not_too_small() {
    let two_gib = Bytes::from_gib(2).0 as f64;
    let of = |capacity| {
        let seen = [
            (SignalKind::ExternalHitTokens, 0.0),
            (SignalKind::TierCapacityBytes, capacity),
            (SignalKind::EvictedBytes, 5e9),
        ];
        verdict(&offloading(), 1, &busy(&seen))
    };
    assert_eq!(of(two_gib), Verdict::OverheadOnly(OverheadReason::Evicted));
    assert_eq!(of(two_gib - 1.0), Verdict::OverheadOnly(OverheadReason::TierTooSmall));
}

#[test]
fn what_was_evicted_or_served_was_taken_once() {
    let of = |served, evicted| {
        let seen = [
            (SignalKind::StoredBytes, 0.0),
            (SignalKind::ExternalHitTokens, served),
            (SignalKind::EvictedBytes, evicted),
        ];
        verdict(&offloading(), 1, &busy(&seen))
    };
    assert_eq!(of(0.0, 0.0), Verdict::Void(VoidReason::NoOperation));
    // It held something before the window, and stored nothing in it.
    let too_small = Verdict::OverheadOnly(OverheadReason::TierTooSmall);
    for (served, evicted) in [(0.0, 5.0), (5.0, 0.0), (5.0, 5.0)] {
        assert_eq!(of(served, evicted), too_small, "{served} {evicted}");
    }
}

#[test]
fn reasons_say_what_was_counted_and_no_more() {
    let why = |capacity: Option<f64>, stored, refused| {
        let mut seen =
            busy(&[(SignalKind::StoredBytes, stored), (SignalKind::ExternalHitTokens, 0.0)]);
        seen.add(SignalKind::StoreFailures, refused, "test");
        if let Some(capacity) = capacity {
            seen.add(SignalKind::TierCapacityBytes, capacity, "test");
        }
        decide(&offloading(), &facts(1), &seen).reason
    };
    let large = Some(4.0 * (1u64 << 30) as f64);
    let capacity = Bytes::from_gib(4);
    assert_eq!(why(large, 0.0, 1.0), Reason::Inaction(Inaction::RefusedAll { capacity }));
    let nothing = Reason::Inaction(Inaction::StoredNothing);
    assert_eq!(why(large, 0.0, 0.0), nothing);
    assert_eq!(why(None, 0.0, 1.0), nothing);
    let served = TokenShare { part: 0.0, whole: 5_000.0 };
    assert_eq!(why(large, 1e9, 1.0), Reason::from(OffloadReason::NoRoom { capacity, served }));
    let small = |capacity| Reason::from(OffloadReason::TierTooSmall { capacity, served });
    assert_eq!(why(Some(1e9), 1e9, 1.0), small(Some(Bytes(1_000_000_000))));
    assert_eq!(why(None, 1e9, 1.0), small(None));
}

#[test]
fn a_farthest_tier_is_told_what_it_did_and_no_more() {
    for (arm, hits, held) in farther() {
        let tier = arm.offload.as_ref().unwrap().farthest().unwrap();
        let of = |served, kept, more: &[(SignalKind, f64)]| {
            let mut seen =
                busy(&[(SignalKind::ExternalHitTokens, served), (hits, 0.0), (held, kept)]);
            for (kind, value) in more {
                seen.add_of(tier, *kind, *value, "test");
            }
            decide(&arm, &facts(1), &seen)
        };
        let void = of(0.0, 0.0, &[]);
        assert_eq!(void.verdict, Verdict::Void(VoidReason::NoOperation));
        let nobody_served = matches!(
            &void.reason,
            Reason::Inaction(Inaction::FarthestEmpty { nearer_served: false, .. })
        );
        assert!(nobody_served, "{:?}", void.reason);
        let none = [(SignalKind::StoreFailures, 0.0), (SignalKind::EvictedBytes, 0.0)];
        let behind = of(4_000.0, 3.0, &none);
        assert_eq!(behind.verdict, Verdict::OverheadOnly(OverheadReason::NearerTier));
        let served = TokenShare { part: 4_000.0, whole: 5_000.0 };
        let reason = OffloadReason::NearerServed { tier, served, refused: None, evicted: None };
        assert_eq!(behind.reason, Reason::from(reason));
        assert_eq!(behind.remedy, Some(Remedy::SmallerNearer));
    }
}

#[test]
fn of_two_halves_of_the_same_worth_the_offload_is_told_first() {
    let arm = Arm { offload: offloading().offload, ..routing() };
    let with = |routed, uniform, best, served, evicted| {
        let mut all = super::routed(routed, uniform, best);
        for (kind, value) in [
            (SignalKind::EligibleTokens, 5000.0),
            (SignalKind::StoredBytes, 1e9),
            (SignalKind::ExternalQueryTokens, 6000.0),
            (SignalKind::ExternalHitTokens, served),
            (SignalKind::EvictedBytes, evicted),
        ] {
            all.add(kind, value, "test");
        }
        decide(&arm, &facts(4), &all)
    };
    let both = with(5000.0, 5000.0, 5050.0, 0.0, 1e9);
    assert_eq!(both.verdict, Verdict::OverheadOnly(OverheadReason::Evicted));
    assert_eq!(both.other_half, Some(Verdict::OverheadOnly(OverheadReason::FitsGpu)));
    let alike = with(5000.0, 2000.0, 5500.0, 4000.0, 0.0);
    assert_eq!(alike.verdict, Verdict::Effective);
    assert_eq!(alike.other_half, None);
    assert!(
        matches!(alike.reason, Reason::Offload(OffloadReason::Served(_))),
        "{:?}",
        alike.reason
    );
}

#[test]
fn a_choice_is_judged_by_what_chance_and_the_best_would_have_found() {
    let claim = |decision: &Decision| {
        let is_it = |claim: &&Claim| matches!(claim.claim, Claimed::ChoicesGained { .. });
        decision.claims.iter().find(is_it).expect("each routing that was seen has it").held
    };
    let of = |routed: f64, best: f64, share: f64| {
        let facts = Facts { effective_share: share, ..facts(2) };
        let decision = decide(&routing(), &facts, &super::routed(routed, 2_000.0, best));
        (decision.verdict.clone(), claim(&decision))
    };
    let effective = (Verdict::Effective, Some(true));
    let fits = |held| (Verdict::OverheadOnly(OverheadReason::FitsGpu), held);
    let vain = (Verdict::OverheadOnly(OverheadReason::Evicted), Some(false));
    // A tenth of what the best would have gained.
    assert_eq!(of(2_350.0, 5_500.0, 0.1), effective);
    assert_eq!(of(2_349.0, 5_500.0, 0.1), vain);
    assert_eq!(of(2_000.0, 5_500.0, 0.0), vain, "nothing gained is never enough");
    // A hundredth of the prompt tokens is worth a choice.
    assert_eq!(of(2_100.0, 2_100.0, 0.1), effective);
    assert_eq!(of(2_099.0, 2_099.0, 0.1), fits(Some(false)));
    assert_eq!(of(2_000.0, 2_099.0, 0.1), fits(Some(false)));
}

#[test]
fn an_index_that_heard_or_was_asked_nothing_holds_no_claim() {
    let mut seen = routed(5000.0, 2000.0, 5500.0);
    seen.0.remove(&SignalKind::IndexHits);
    seen.add(SignalKind::IndexHits, 0.0, "test");
    let decision = decide(&routing(), &facts(4), &seen);
    let held: Vec<Option<bool>> = decision.claims.iter().map(|claim| claim.held).collect();
    assert_eq!(held, [Some(true), Some(true), Some(false)]);
    seen.0.remove(&SignalKind::IndexEvents);
    assert_eq!(verdict(&routing(), 4, &seen), Verdict::Unverified, "nobody counted events");
}

#[test]
fn chance_may_give_one_replica_twice_its_share() {
    let control = arm(ArmRole::RoutingControl);
    let at = |share| signals(&[(SignalKind::RoutingMaxSharePercent, share)]);
    assert_eq!(verdict(&control, 4, &at(50.0)), Verdict::Control);
    assert!(matches!(verdict(&control, 4, &at(50.1)), Verdict::Failed(_)));
    assert_eq!(verdict(&control, 2, &at(95.0)), Verdict::Control);
    assert!(matches!(verdict(&control, 2, &at(95.1)), Verdict::Failed(_)));
}
