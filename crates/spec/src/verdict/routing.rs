//! The routing half of the decision table.

use weir_model::{OverheadReason, SignalKind, Signals, Verdict, VoidReason};
use weir_router::config::PolicyConfig;

use super::{Claim, Decision, Facts, NEGLIGIBLE_SHARE, percent, unverified};
use crate::plan::Arm;

pub(super) fn decide(arm: &Arm, facts: &Facts<'_>, signals: &Signals) -> Decision {
    if facts.replicas < 2 {
        return no_choice(Vec::new());
    }
    let claims = if matches!(arm.routing.policy, PolicyConfig::PrecisePrefix { .. }) {
        match index_claims(signals) {
            Ok(claims) => claims,
            Err(decision) => return *decision,
        }
    } else {
        Vec::new()
    };
    choices(claims, facts, signals)
}

/// The claims of a precise index; a decision where they already settle it.
fn index_claims(signals: &Signals) -> Result<Vec<Claim>, Box<Decision>> {
    let events = counted("KV events reached the index", SignalKind::IndexEvents, signals);
    let lookups = counted("the index was asked", SignalKind::IndexLookups, signals);
    let hits = counted("lookups found blocks", SignalKind::IndexHits, signals);
    let (silent, unasked) = (events.held == Some(false), lookups.held == Some(false));
    let unseen = events.held.is_none();
    let claims = vec![events, lookups, hits];
    if silent || unasked {
        return Err(Box::new(placebo(claims, silent)));
    }
    if unseen {
        return Err(Box::new(unverified(claims, "the events of the index")));
    }
    Ok(claims)
}

/// What the choices brought, against chance and against the best ones.
fn choices(mut claims: Vec<Claim>, facts: &Facts<'_>, signals: &Signals) -> Decision {
    let hit = |kind| signals.get(kind);
    let (Some(routed), Some(uniform), Some(best), Some(prompt)) = (
        hit(SignalKind::RoutedHitTokens),
        hit(SignalKind::UniformHitTokens),
        hit(SignalKind::BestHitTokens),
        hit(SignalKind::PromptTokens),
    ) else {
        return unverified(claims, "what the chosen replicas held at the decisions");
    };
    let (gained, possible) = (routed - uniform, best - uniform);
    let matters = possible >= NEGLIGIBLE_SHARE * prompt;
    let enough = gained > 0.0 && gained >= facts.effective_share * possible;
    claims.push(Claim {
        claim: format!(
            "its choices gained at least {:.0} % of what the best ones would over chance",
            100.0 * facts.effective_share
        ),
        held: Some(enough && matters),
        seen: format!(
            "{routed:.0} tokens held by the chosen, {uniform:.0} on average, {best:.0} by the best"
        ),
    });
    if !matters {
        return Decision {
            verdict: Verdict::OverheadOnly(OverheadReason::FitsGpu),
            claims,
            explanation: format!(
                "All replicas hold the same: the best choice would gain {:.2} % of the prompt \
                 tokens over chance.",
                percent(possible, prompt)
            ),
            remedy: Some(
                "more prefixes than one replica holds, or sessions of several turns".to_owned(),
            ),
        };
    }
    if enough {
        return Decision {
            verdict: Verdict::Effective,
            claims,
            explanation: format!(
                "Its choices gained {:.1} % of what the best ones would over chance.",
                percent(gained, possible)
            ),
            remedy: None,
        };
    }
    Decision {
        verdict: Verdict::OverheadOnly(OverheadReason::Evicted),
        claims,
        explanation: format!(
            "Its choices gained {:.1} % of what the best ones would over chance: what the index \
             knew was gone, or load outweighed it.",
            percent(gained.max(0.0), possible)
        ),
        remedy: Some("a higher weight of the prefix score, or a larger index".to_owned()),
    }
}

/// A precise index without events or without questions routes like any other.
fn placebo(claims: Vec<Claim>, silent: bool) -> Decision {
    let (reason, explanation, remedy) = if silent {
        (
            VoidReason::NoEvents,
            "No KV event reached the index: it can only answer that it knows nothing.",
            "check that the engines publish KV events and that the index subscribes to them",
        )
    } else {
        (
            VoidReason::NoOperation,
            "The index was never asked: the router decides without it.",
            "check that the router's profile uses the precise scorer",
        )
    };
    Decision {
        verdict: Verdict::Void(reason),
        claims,
        explanation: explanation.to_owned(),
        remedy: Some(remedy.to_owned()),
    }
}

/// One replica: nothing to choose.
pub(super) fn no_choice(mut claims: Vec<Claim>) -> Decision {
    claims.push(Claim {
        claim: "there were replicas to choose from".to_owned(),
        held: Some(false),
        seen: "1 replica".to_owned(),
    });
    Decision {
        verdict: Verdict::Void(VoidReason::NoChoice),
        claims,
        explanation: "There is one replica: the router has nothing to choose.".to_owned(),
        remedy: Some("`replicas: 2` or more".to_owned()),
    }
}

/// The claim of a routing by chance: no replica got more than twice its share.
pub(super) fn spread(replicas: u32, signals: &Signals) -> Claim {
    let largest = signals.get(SignalKind::RoutingMaxSharePercent);
    let most = (200.0 / f64::from(replicas)).min(95.0);
    Claim {
        claim: format!("no replica got more than {most:.0} % of the requests"),
        held: largest.map(|share| share <= most),
        seen: largest.map_or("not observable".to_owned(), |share| format!("at most {share:.1} %")),
    }
}

fn counted(claim: &str, kind: SignalKind, signals: &Signals) -> Claim {
    let value = signals.get(kind);
    Claim {
        claim: claim.to_owned(),
        held: value.map(|value| value > 0.0),
        seen: value.map_or("not observable".to_owned(), |value| format!("{value:.0}")),
    }
}
