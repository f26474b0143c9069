//! Routers that do not choose as configured, by what they leave in the signals.

use weir_model::{CheckSetup, RoutingReason};

use super::*;

/// Of a precise arm that gained nearly all that was possible, with some signals changed.
fn seen(changed: &[(SignalKind, f64)]) -> Signals {
    let mut signals = routed(5000.0, 2000.0, 5500.0);
    signals.add(SignalKind::RoutingChoices, 100.0, "test");
    signals.add(SignalKind::RoutingMaxSharePercent, 40.0, "test");
    for (kind, value) in changed {
        signals.0.remove(kind);
        signals.add(*kind, *value, "test");
    }
    signals
}

fn judged(arm: &Arm, changed: &[(SignalKind, f64)]) -> (Verdict, Reason, Option<Remedy>) {
    let decision = decide(arm, &facts(4), &seen(changed));
    (decision.verdict, decision.reason, decision.remedy)
}

fn void(
    reason: VoidReason,
    why: RoutingReason,
    check: CheckSetup,
) -> (Verdict, Reason, Option<Remedy>) {
    (Verdict::Void(reason), why.into(), Some(Remedy::Check(check)))
}

fn with_store() -> Arm {
    let mut arm = routing();
    if let PolicyConfig::PrecisePrefix { index, .. } = &mut arm.routing.policy {
        index.backend = "redis".to_owned();
    }
    arm
}

#[test]
fn what_is_in_order_is_effective() {
    assert_eq!(judged(&routing(), &[]).0, Verdict::Effective);
    assert_eq!(judged(&with_store(), &[(SignalKind::IndexKeys, 832.0)]).0, Verdict::Effective);
    // Whether the store is used is not known; that the choices gained is.
    assert_eq!(judged(&with_store(), &[]).0, Verdict::Effective);
    // The approximate index exists, and is not used.
    assert_eq!(judged(&routing(), &[(SignalKind::ApproximateKeys, 0.0)]).0, Verdict::Effective);
}

#[test]
fn one_replica_that_answers_everything_is_no_choice() {
    // All that it holds is also the best there is, so the choices seem to gain.
    let one = [(SignalKind::RoutingMaxSharePercent, 100.0)];
    let expected = void(VoidReason::NoChoice, RoutingReason::OneAnswered, CheckSetup::Replicas);
    assert_eq!(judged(&routing(), &one), expected);
    let approximate = Arm { routing: arm(ArmRole::Control).routing, ..routing() };
    assert_eq!(judged(&approximate, &one), expected);
    // A dead index is the nearer cause.
    let silent = [one[0], (SignalKind::IndexEvents, 0.0)];
    assert_eq!(judged(&routing(), &silent).1, RoutingReason::NoEvents.into());
}

#[test]
fn an_index_whose_blocks_no_event_fills_is_told_from_one_without_events() {
    let silent = seen(&[(SignalKind::IndexEvents, 0.0)]);
    let of = |index| {
        let index_block = Some(IndexBlock { index, engine: 16 });
        decide(&routing(), &Facts { index_block, ..facts(2) }, &silent)
    };
    let long = of(2048);
    assert_eq!(long.verdict, Verdict::Void(VoidReason::NoEvents));
    assert_eq!(long.reason, RoutingReason::IndexBlockUnfilled { index: 2048, engine: 16 }.into());
    assert_eq!(long.remedy, Some(Remedy::Check(CheckSetup::IndexKeys)));
    assert_eq!(of(8).reason, RoutingReason::NoEvents.into());
}

#[test]
fn what_a_gateway_sends_by_itself_is_no_choice_of_the_router() {
    let by_itself = |requests| [(SignalKind::UnroutedRequests, requests)];
    let reason = RoutingReason::GatewayChose { requests: 2.0, of: Some(100.0) };
    let expected = void(VoidReason::NoChoice, reason, CheckSetup::Router);
    assert_eq!(judged(&routing(), &by_itself(2.0)), expected);
    let control = arm(ArmRole::RoutingControl);
    assert_eq!(judged(&control, &by_itself(2.0)), expected);
    assert_eq!(judged(&control, &by_itself(0.0)).0, Verdict::Control);
    assert_eq!(judged(&routing(), &by_itself(0.0)).0, Verdict::Effective);
    assert_eq!(judged(&routing(), &by_itself(0.5)).0, Verdict::Effective, "a request in 200");
}

#[test]
fn a_precise_scorer_without_its_producer_is_silently_approximate() {
    let signals = [(SignalKind::ApproximateKeys, 412.0)];
    let reason = RoutingReason::ApproximateDecides { blocks: 412.0 };
    assert_eq!(
        judged(&routing(), &signals),
        void(VoidReason::NoOperation, reason, CheckSetup::Producer)
    );
    let approximate = Arm { routing: arm(ArmRole::Control).routing, ..routing() };
    assert_eq!(judged(&approximate, &signals).0, Verdict::Effective);
}

#[test]
fn an_index_that_finds_nothing_has_other_keys_unless_nothing_was_asked_again() {
    let unfound = (SignalKind::IndexHits, 0.0);
    let expected =
        void(VoidReason::NoOperation, RoutingReason::NothingFound, CheckSetup::IndexKeys);
    assert_eq!(judged(&routing(), &[unfound]), expected);
    let nothing_again = [unfound, (SignalKind::BestHitTokens, 0.0)];
    assert_eq!(
        judged(&routing(), &nothing_again).0,
        Verdict::OverheadOnly(OverheadReason::FitsGpu)
    );
    // Without KV events, what earlier requests had tells.
    let mut signals = seen(&[unfound, (SignalKind::SeenTokens, 4000.0)]);
    for kind in
        [SignalKind::RoutedHitTokens, SignalKind::UniformHitTokens, SignalKind::BestHitTokens]
    {
        signals.0.remove(&kind);
    }
    assert_eq!(decide(&routing(), &facts(4), &signals).reason, RoutingReason::NothingFound.into());
}

#[test]
fn an_index_whose_store_stays_empty_is_one_in_memory() {
    let empty = [(SignalKind::IndexKeys, 0.0)];
    let expected =
        void(VoidReason::NoOperation, RoutingReason::IndexStoreEmpty, CheckSetup::IndexStore);
    assert_eq!(judged(&with_store(), &empty), expected);
    assert_eq!(judged(&routing(), &empty).0, Verdict::Effective, "it has no store");
}

#[test]
fn unknown_replicas_and_unknown_contents_are_told_apart() {
    let unseen = |gone: &[SignalKind]| {
        let mut signals = seen(&[]);
        for kind in gone {
            signals.0.remove(kind);
        }
        let decision = decide(&routing(), &facts(4), &signals);
        assert_eq!(decision.verdict, Verdict::Unverified);
        (decision.reason, decision.remedy)
    };
    let hits =
        [SignalKind::RoutedHitTokens, SignalKind::UniformHitTokens, SignalKind::BestHitTokens];
    assert_eq!(unseen(&hits), (Reason::NoSource(Unseen::Choices), Some(Remedy::HearEvents)));
    let all =
        [&hits[..], &[SignalKind::RoutingChoices, SignalKind::RoutingMaxSharePercent]].concat();
    assert_eq!(unseen(&all), (Reason::NoSource(Unseen::Replicas), Some(Remedy::NameReplicas)));
}
