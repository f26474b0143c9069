//! The routing half of the decision table.

use weir_model::{
    CheckSetup, Claim, Claimed, OverheadReason, Remedy, RoutingReason, SignalKind, Signals,
    TokenShare, Unseen, Verdict, VoidReason,
};
use weir_router::config::PolicyConfig;

use super::{Decision, Facts, NEGLIGIBLE_SHARE, unverified};
use crate::plan::Arm;

pub(super) fn decide(arm: &Arm, facts: &Facts<'_>, signals: &Signals) -> Decision {
    if facts.replicas < 2 {
        return no_choice(facts.replicas, Vec::new());
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

/// A decision where the claims already settle it.
fn index_claims(signals: &Signals) -> Result<Vec<Claim>, Box<Decision>> {
    let get = |kind| signals.get(kind);
    let counted = |count: Option<f64>, claim| Claim { claim, held: count.map(|count| count > 0.0) };
    let (events, lookups) = (get(SignalKind::IndexEvents), get(SignalKind::IndexLookups));
    let hits = get(SignalKind::IndexHits);
    let claims = vec![
        counted(events, Claimed::IndexEvents { events }),
        counted(lookups, Claimed::IndexAsked { lookups }),
        counted(hits, Claimed::IndexHits { lookups: hits }),
    ];
    let (silent, unasked) = (claims[0].held == Some(false), claims[1].held == Some(false));
    if silent || unasked {
        return Err(Box::new(placebo(claims, silent)));
    }
    if events.is_none() {
        return Err(Box::new(unverified(claims, Unseen::IndexEvents)));
    }
    Ok(claims)
}

fn choices(mut claims: Vec<Claim>, facts: &Facts<'_>, signals: &Signals) -> Decision {
    let hit = |kind| signals.get(kind);
    let (Some(routed), Some(uniform), Some(best), Some(prompt)) = (
        hit(SignalKind::RoutedHitTokens),
        hit(SignalKind::UniformHitTokens),
        hit(SignalKind::BestHitTokens),
        hit(SignalKind::PromptTokens),
    ) else {
        return unverified(claims, Unseen::Choices);
    };
    let (gained, possible) = (routed - uniform, best - uniform);
    let matters = possible >= NEGLIGIBLE_SHARE * prompt;
    let enough = gained > 0.0 && gained >= facts.effective_share * possible;
    let least = facts.effective_share;
    claims.push(Claim {
        claim: Claimed::ChoicesGained { least, routed, uniform, best },
        held: Some(enough && matters),
    });
    let (verdict, reason, remedy) = if !matters {
        (
            Verdict::OverheadOnly(OverheadReason::FitsGpu),
            RoutingReason::ReplicasAlike { possible: TokenShare { part: possible, whole: prompt } },
            Some(Remedy::MorePrefixes),
        )
    } else if enough {
        let gained = TokenShare { part: gained, whole: possible };
        (Verdict::Effective, RoutingReason::ChoicesGained(gained), None)
    } else {
        (
            Verdict::OverheadOnly(OverheadReason::Evicted),
            RoutingReason::ChoicesInVain(TokenShare { part: gained.max(0.0), whole: possible }),
            Some(Remedy::RaisePrefixWeight),
        )
    };
    Decision::of(verdict, claims, reason, remedy)
}

/// A precise index without events or lookups routes like any other.
fn placebo(claims: Vec<Claim>, silent: bool) -> Decision {
    let (void, reason, remedy) = if silent {
        (VoidReason::NoEvents, RoutingReason::NoEvents, Remedy::Check(CheckSetup::Events))
    } else {
        (VoidReason::NoOperation, RoutingReason::IndexNotAsked, Remedy::Check(CheckSetup::Scorer))
    };
    Decision::of(Verdict::Void(void), claims, reason, Some(remedy))
}

pub(super) fn no_choice(replicas: u32, mut claims: Vec<Claim>) -> Decision {
    claims.push(Claim { claim: Claimed::SeveralReplicas { replicas }, held: Some(false) });
    let verdict = Verdict::Void(VoidReason::NoChoice);
    Decision::of(verdict, claims, RoutingReason::OneReplica, Some(Remedy::AddReplicas))
}

/// No replica got more than twice its share.
pub(super) fn spread(replicas: u32, signals: &Signals) -> Claim {
    let largest_percent = signals.get(SignalKind::RoutingMaxSharePercent);
    let most_percent = (200.0 / f64::from(replicas)).min(95.0);
    Claim {
        claim: Claimed::EvenChoice { most_percent, largest_percent },
        held: largest_percent.map(|share| share <= most_percent),
    }
}
