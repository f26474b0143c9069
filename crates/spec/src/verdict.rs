//! The decision table of the verdicts: a pure function of an arm, the facts of its cell and the
//! signals seen. All targets use it, and so does the prediction, with predicted signals.
//!
//! An arm may claim an offload, a routing, or both. Each claim is judged alone; an arm with both
//! is worth its weaker half (`void` before `unverified` before `overhead-only` before
//! `effective`), since its figures cannot be ascribed to one of them.

mod contradiction;
mod inaction;
mod offload;
mod routing;

use weir_model::{
    Bytes, CheckSetup, Claim, Claimed, FailureReason, Reason, Remedy, Signal, SignalKind, Signals,
    Unseen, Verdict,
};

use crate::plan::{Arm, ArmRole, Regime};

/// Below this share of the prompt tokens, reuse is too small to show anything.
pub(crate) const NEGLIGIBLE_SHARE: f64 = 0.01;

/// What a verdict needs to know besides the signals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts<'a> {
    /// Replicas that a request could go to.
    pub replicas: u32,
    /// Share of the eligible reuse that counts as `effective`.
    pub effective_share: f64,
    /// KV bytes that the workload asks for again, per replica, where they are known
    /// ([`crate::plan::Prediction::working_set`]).
    pub working_set: Option<Bytes>,
    /// What the plan predicts for it.
    pub regime: Regime,
    /// Tokens of the longest sequence that a request offers to the offload mechanism, where that
    /// is known.
    pub longest_offer: Option<u64>,
    /// Leading tokens that a request had in common with an earlier one, of the request with most,
    /// where that is known.
    pub longest_reuse: Option<u64>,
    /// A line of a start-up log that says that the mechanism will not do what it was configured
    /// for.
    pub startup_warning: Option<&'a str>,
}

/// A verdict with its reasons.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What the cell is worth.
    pub verdict: Verdict,
    pub claims: Vec<Claim>,
    pub reason: Reason,
    /// Of an arm with two claims: the verdict of the stronger one, where it is another.
    pub other_half: Option<Verdict>,
    /// For verdicts that show nothing: what to change.
    pub remedy: Option<Remedy>,
}

impl Decision {
    fn of(
        verdict: Verdict,
        claims: Vec<Claim>,
        reason: impl Into<Reason>,
        remedy: Option<Remedy>,
    ) -> Self {
        Self { verdict, claims, reason: reason.into(), other_half: None, remedy }
    }
}

pub fn decide(arm: &Arm, facts: &Facts<'_>, signals: &Signals) -> Decision {
    if arm.role == ArmRole::AsDeployed {
        return as_deployed();
    }
    if arm.role != ArmRole::Treatment {
        return control(arm, facts, signals);
    }
    let offload = arm.offload.as_ref().map(|_| offload::decide(arm, facts, signals));
    let routing = arm.routing_is_claim.then(|| routing::decide(arm, facts, signals));
    match (offload, routing) {
        (Some(one), Some(other)) => both(one, other),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => control(arm, facts, signals),
    }
}

/// An endpoint of which nothing is claimed.
fn as_deployed() -> Decision {
    Decision::of(Verdict::Control, Vec::new(), Reason::NothingClaimed, None)
}

/// A baseline: nothing outside the GPU served it, and a control by chance did spread.
fn control(arm: &Arm, facts: &Facts<'_>, signals: &Signals) -> Decision {
    let failed = |failure, claims, reason, remedy| {
        Decision::of(Verdict::Failed(failure), claims, reason, Some(remedy))
    };
    let tokens = signals.get(SignalKind::ExternalHitTokens);
    // Without a mechanism there may be no such metric, which is what is claimed.
    let unserved = tokens.unwrap_or(0.0) == 0.0;
    let claim = Claimed::NoExternalHits { tokens };
    let mut claims = vec![Claim { claim, held: Some(unserved) }];
    if !unserved {
        let (failure, reason) = (FailureReason::ControlServed, Reason::ControlServed);
        return failed(failure, claims, reason, Remedy::FlushTiers);
    }
    if arm.offload.is_none()
        && let Some(connected) = connected(signals)
    {
        let held = connected.held;
        claims.push(connected);
        if held == Some(false) {
            let (failure, reason) = (FailureReason::ControlConnected, Reason::ControlConnected);
            return failed(failure, claims, reason, Remedy::RemoveConnector);
        }
    }
    if arm.role == ArmRole::RoutingControl {
        if facts.replicas < 2 {
            return routing::no_choice(facts.replicas, claims);
        }
        let spread = routing::spread(facts.replicas, signals);
        let held = spread.held;
        claims.push(spread);
        if held == Some(false) {
            let (failure, reason) = (FailureReason::UnevenChoice, Reason::UnevenChoice);
            return failed(failure, claims, reason, Remedy::Check(CheckSetup::Replicas));
        }
    }
    Decision::of(Verdict::Control, claims, Reason::Baseline, None)
}

/// That nothing was stored or looked up outside the GPU; nothing where that has no metric.
fn connected(signals: &Signals) -> Option<Claim> {
    let stored_bytes = signals.get(SignalKind::StoredBytes);
    let asked_tokens = signals.get(SignalKind::ExternalQueryTokens);
    if stored_bytes.is_none() && asked_tokens.is_none() {
        return None;
    }
    let nothing = |count: Option<f64>| count.is_none_or(|count| count == 0.0);
    Some(Claim {
        claim: Claimed::NothingOutsideGpu { stored_bytes, asked_tokens },
        held: Some(nothing(stored_bytes) && nothing(asked_tokens)),
    })
}

/// Whether so many tokens are more of the eligible ones than a rounding: questions and answers
/// about a store go over its sockets too.
fn is_more_than_rounding(tokens: f64, eligible: f64) -> bool {
    tokens > 0.0 && tokens >= NEGLIGIBLE_SHARE * eligible
}

/// Who speaks of a quantity of all tiers together.
fn sources(signals: &Signals, kind: SignalKind) -> impl Iterator<Item = &Signal> {
    let all = signals.0.get(&kind).map_or(&[][..], Vec::as_slice);
    all.iter().filter(|signal| signal.tier.is_none())
}

/// The weaker of two halves, with the claims of both.
fn both(offload: Decision, routing: Decision) -> Decision {
    let (mut weaker, stronger) = if rank(&routing.verdict) < rank(&offload.verdict) {
        (routing, offload)
    } else {
        (offload, routing)
    };
    weaker.claims.extend(stronger.claims);
    if weaker.verdict != stronger.verdict {
        weaker.other_half = Some(stronger.verdict);
    }
    weaker
}

/// Order of worth; the least is the weakest.
const fn rank(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Failed(_) | Verdict::Corrupt | Verdict::Refused => 0,
        Verdict::Void(_) => 1,
        Verdict::Unverified => 2,
        Verdict::OverheadOnly(_) => 3,
        Verdict::Effective => 4,
        Verdict::Control => 5,
    }
}

/// A signal that decides could not be observed.
fn unverified(claims: Vec<Claim>, what: Unseen) -> Decision {
    let remedy = Some(Remedy::ReachMetrics);
    Decision::of(Verdict::Unverified, claims, Reason::NoSource(what), remedy)
}

#[cfg(test)]
mod tests;
