//! The decision table of the verdicts: a pure function of an arm, the facts of its cell and the
//! observed signals. All targets use it, and the prediction with predicted signals.
//!
//! An arm may claim an offload, a routing, or both. Each claim is judged alone. An arm with both
//! gets its weaker verdict (`void` before `unverified` before `overhead-only` before `effective`),
//! since its figures cannot be ascribed to one claim.

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

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts<'a> {
    pub replicas: u32,
    /// Share of the eligible reuse that counts as `effective`.
    pub effective_share: f64,
    /// See [`crate::plan::Prediction::working_set`].
    pub working_set: Option<Bytes>,
    pub regime: Regime,
    /// See [`crate::plan::Prediction::longest_offer`].
    pub longest_offer: Option<u64>,
    /// See [`crate::plan::Prediction::longest_reuse`].
    pub longest_reuse: Option<u64>,
    /// A start-up log line that says that the mechanism will not act as configured.
    pub startup_warning: Option<&'a str>,
    /// Where the router says what its precise index has.
    pub index_block: Option<IndexBlock>,
}

/// In tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexBlock {
    pub index: u64,
    pub engine: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub verdict: Verdict,
    pub claims: Vec<Claim>,
    pub reason: Reason,
    /// Of an arm with two claims: the stronger verdict, where it differs.
    pub other_half: Option<Verdict>,
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

fn as_deployed() -> Decision {
    Decision::of(Verdict::Control, Vec::new(), Reason::NothingClaimed, None)
}

/// Nothing outside the GPU served it, and a control by chance did spread.
fn control(arm: &Arm, facts: &Facts<'_>, signals: &Signals) -> Decision {
    let failed = |failure, claims, reason, remedy| {
        Decision::of(Verdict::Failed(failure), claims, reason, Some(remedy))
    };
    let tokens = signals.get(SignalKind::ExternalHitTokens);
    // A metric may be absent without a mechanism, as claimed.
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
        if let Some(decision) = routing::gateway_chose(&mut claims, signals) {
            return decision;
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

/// Nothing was stored or looked up outside the GPU. None without such metrics.
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

/// Whether the tokens are more than a rounding of the eligible ones: a store's protocol also goes
/// over its sockets.
fn is_more_than_rounding(tokens: f64, eligible: f64) -> bool {
    tokens > 0.0 && tokens >= NEGLIGIBLE_SHARE * eligible
}

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

fn unverified(claims: Vec<Claim>, what: Unseen) -> Decision {
    let remedy = Some(Remedy::ReachMetrics);
    Decision::of(Verdict::Unverified, claims, Reason::NoSource(what), remedy)
}

#[cfg(test)]
mod tests;
