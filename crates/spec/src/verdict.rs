//! The decision table of the verdicts: a pure function of an arm, the facts of its cell and the
//! signals seen. All targets use it, and so does the prediction, with foreseen signals.
//!
//! An arm may claim an offload, a routing, or both. Each claim is judged alone; an arm with both
//! is worth its weaker half (`void` before `unverified` before `overhead-only` before
//! `effective`), since its figures cannot be ascribed to one of them.

mod contradiction;
mod inaction;
mod offload;
mod routing;

pub use weir_model::Claim;
use weir_model::{Bytes, Signal, SignalKind, Signals, Verdict};

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
    /// What the plan foresees for it.
    pub regime: Regime,
    /// Tokens of the longest sequence that a request offers to the offload mechanism, where that
    /// is known.
    pub longest_offer: Option<u64>,
    /// Leading tokens that a request had in common with an earlier one, of the request with most,
    /// where that is known.
    pub longest_reuse: Option<u64>,
    /// A line of a start-up log that says that the mechanism will not do what it was configured
    /// for.
    pub doubt: Option<&'a str>,
}

/// A verdict with its reasons.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What the cell is worth.
    pub verdict: Verdict,
    pub claims: Vec<Claim>,
    /// Why, in one sentence.
    pub explanation: String,
    /// For verdicts that show nothing: what to change.
    pub remedy: Option<String>,
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
    Decision {
        verdict: Verdict::Control,
        claims: Vec::new(),
        explanation: "Nothing is claimed of this deployment: its figures stand for themselves."
            .to_owned(),
        remedy: None,
    }
}

/// A baseline: nothing outside the GPU served it, and a control by chance did spread.
fn control(arm: &Arm, facts: &Facts<'_>, signals: &Signals) -> Decision {
    let hits = signals.get(SignalKind::ExternalHitTokens);
    let mut claims = vec![Claim {
        claim: "no external hits".to_owned(),
        // Without a mechanism there may be no such metric, which is what is claimed.
        held: Some(hits.unwrap_or(0.0) == 0.0),
        seen: hits.map_or("no such metric".to_owned(), |hits| tokens(hits, "external hits")),
    }];
    if claims[0].held == Some(false) {
        return Decision {
            verdict: Verdict::Failed("a control with external hits".to_owned()),
            explanation: "Something outside the GPU served the control.".to_owned(),
            claims,
            remedy: Some("flush all tiers, and check that no connector is loaded".to_owned()),
        };
    }
    if arm.offload.is_none()
        && let Some(connected) = connected(signals)
    {
        let held = connected.held;
        claims.push(connected);
        if held == Some(false) {
            return Decision {
                verdict: Verdict::Failed("a control with an offload connector".to_owned()),
                explanation:
                    "A connector stores or looks up blocks outside of the GPU: its cost is \
                              in the control's figures."
                        .to_owned(),
                claims,
                remedy: Some("serve the control without a connector".to_owned()),
            };
        }
    }
    if arm.role == ArmRole::RoutingControl {
        if facts.replicas < 2 {
            return routing::no_choice(claims);
        }
        let spread = routing::spread(facts.replicas, signals);
        let held = spread.held;
        claims.push(spread);
        if held == Some(false) {
            return Decision {
                verdict: Verdict::Failed("a choice by chance that did not spread".to_owned()),
                explanation: "One replica got nearly all requests of the routing by chance."
                    .to_owned(),
                claims,
                remedy: Some("check that all replicas are ready and behind the router".to_owned()),
            };
        }
    }
    Decision {
        verdict: Verdict::Control,
        claims,
        explanation: "A baseline: its figures are what the others are compared with.".to_owned(),
        remedy: None,
    }
}

/// That nothing was stored or looked up outside the GPU; nothing where that has no metric.
fn connected(signals: &Signals) -> Option<Claim> {
    let stored = signals.get(SignalKind::StoredBytes);
    let asked = signals.get(SignalKind::ExternalQueryTokens);
    if stored.is_none() && asked.is_none() {
        return None;
    }
    let nothing = |count: Option<f64>| count.is_none_or(|count| count == 0.0);
    let said = |count: Option<f64>| count.map_or("-".to_owned(), |count| format!("{count:.0}"));
    Some(Claim {
        claim: "nothing stored or looked up outside the GPU".to_owned(),
        held: Some(nothing(stored) && nothing(asked)),
        seen: format!("{} bytes stored, {} tokens asked for", said(stored), said(asked)),
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
        weaker.explanation = format!(
            "{} Its other half is {}, which does not count alone.",
            weaker.explanation, stronger.verdict
        );
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
fn unverified(claims: Vec<Claim>, what: &str) -> Decision {
    Decision {
        verdict: Verdict::Unverified,
        claims,
        explanation: format!("There is no source for {what}."),
        remedy: Some("make the metrics of engine, router and stores reachable".to_owned()),
    }
}

fn tokens(value: f64, what: &str) -> String {
    format!("{value:.0} tokens of {what}")
}

/// Part of a whole in percent; of nothing, 0.
fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { 100.0 * part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests;
