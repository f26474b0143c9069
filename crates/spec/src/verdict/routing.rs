//! The routing half of the decision table.

use weir_model::{
    CheckSetup, Claim, Claimed, OverheadReason, Reason, Remedy, RoutingReason, SignalKind, Signals,
    TokenShare, Unseen, Verdict, VoidReason,
};
use weir_router::config::{IndexConfig, PolicyConfig};

use super::{Decision, Facts, IndexBlock, NEGLIGIBLE_SHARE, unverified};
use crate::plan::Arm;

/// [`IndexConfig::backend`] without a store.
const IN_MEMORY: &str = "in-memory";

pub(super) fn decide(arm: &Arm, facts: &Facts<'_>, signals: &Signals) -> Decision {
    if facts.replicas < 2 {
        return no_choice(facts.replicas, Vec::new());
    }
    let mut claims = Vec::new();
    if let Some(decision) = gateway_chose(&mut claims, signals) {
        return decision;
    }
    if let PolicyConfig::PrecisePrefix { index, .. } = &arm.routing.policy {
        claims = match index_claims(claims, index, facts, signals) {
            Ok(claims) => claims,
            Err(decision) => return *decision,
        };
    }
    if let Some(largest_percent) = signals.get(SignalKind::RoutingMaxSharePercent) {
        let several = largest_percent < 100.0;
        let claim = Claimed::SeveralAnswered { largest_percent };
        claims.push(Claim { claim, held: Some(several) });
        if !several {
            let verdict = Verdict::Void(VoidReason::NoChoice);
            let remedy = Some(Remedy::Check(CheckSetup::Replicas));
            return Decision::of(verdict, claims, RoutingReason::OneAnswered, remedy);
        }
    }
    choices(claims, facts, signals)
}

/// What the gateway sent without asking the router, as claim, and the decision if it is too much. A
/// control by chance that nobody chose is none either.
pub(super) fn gateway_chose(claims: &mut Vec<Claim>, signals: &Signals) -> Option<Decision> {
    let unrouted = signals.get(SignalKind::UnroutedRequests)?;
    let of = signals.get(SignalKind::RoutingChoices);
    let held = unrouted == 0.0 || unrouted < NEGLIGIBLE_SHARE * of.unwrap_or(0.0);
    claims.push(Claim { claim: Claimed::RouterChose { unrouted }, held: Some(held) });
    (!held).then(|| {
        let reason = RoutingReason::GatewayChose { requests: unrouted, of };
        let remedy = Some(Remedy::Check(CheckSetup::Router));
        Decision::of(Verdict::Void(VoidReason::NoChoice), claims.clone(), reason, remedy)
    })
}

/// A decision where the claims already settle it.
fn index_claims(
    mut claims: Vec<Claim>,
    index: &IndexConfig,
    facts: &Facts<'_>,
    signals: &Signals,
) -> Result<Vec<Claim>, Box<Decision>> {
    let get = |kind| signals.get(kind);
    let counted = |count: Option<f64>, claim| Claim { claim, held: count.map(|count| count > 0.0) };
    let (events, lookups) = (get(SignalKind::IndexEvents), get(SignalKind::IndexLookups));
    let hits = get(SignalKind::IndexHits);
    let seen = [
        counted(events, Claimed::IndexEvents { events }),
        counted(lookups, Claimed::IndexAsked { lookups }),
        counted(hits, Claimed::IndexHits { lookups: hits }),
    ];
    let [silent, unasked, unfound] = [0, 1, 2].map(|place| seen[place].held == Some(false));
    claims.extend(seen);
    if silent {
        // Runs of blocks that do not fill one of the index are dropped.
        let long = facts.index_block.filter(|block| block.index > block.engine);
        let how = long.map_or(Placebo::NoEvents, Placebo::BlockTooLong);
        return Err(placebo(claims, how));
    }
    if unasked {
        return Err(placebo(claims, Placebo::NotAsked));
    }
    if let Some(blocks) = get(SignalKind::ApproximateKeys) {
        let held = Some(blocks == 0.0);
        claims.push(Claim { claim: Claimed::PreciseDecides { approximate_blocks: blocks }, held });
        if blocks > 0.0 {
            return Err(placebo(claims, Placebo::Approximate { blocks }));
        }
    }
    if unfound && events.is_some() && was_asked_again(signals) {
        return Err(placebo(claims, Placebo::NothingFound));
    }
    if index.backend != IN_MEMORY {
        let keys = get(SignalKind::IndexKeys);
        let stored = counted(keys, Claimed::IndexStored { keys });
        let is_empty = stored.held == Some(false);
        claims.push(stored);
        if is_empty && events.is_some() {
            return Err(placebo(claims, Placebo::StoreEmpty));
        }
    }
    if events.is_none() {
        return Err(Box::new(unverified(claims, Unseen::IndexEvents)));
    }
    Ok(claims)
}

/// Whether there was something to find: what a replica held, else what earlier requests had.
fn was_asked_again(signals: &Signals) -> bool {
    let again = signals.get(SignalKind::BestHitTokens).or(signals.get(SignalKind::SeenTokens));
    let prompt = signals.get(SignalKind::PromptTokens).unwrap_or(0.0);
    again.is_some_and(|again| again > 0.0 && again >= NEGLIGIBLE_SHARE * prompt)
}

fn choices(mut claims: Vec<Claim>, facts: &Facts<'_>, signals: &Signals) -> Decision {
    let hit = |kind| signals.get(kind);
    let (Some(routed), Some(uniform), Some(best), Some(prompt)) = (
        hit(SignalKind::RoutedHitTokens),
        hit(SignalKind::UniformHitTokens),
        hit(SignalKind::BestHitTokens),
        hit(SignalKind::PromptTokens),
    ) else {
        return unseen_choices(claims, signals);
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

/// A precise index that does not decide: such an arm routes like any other.
#[derive(Debug, Clone, Copy)]
enum Placebo {
    NoEvents,
    BlockTooLong(IndexBlock),
    NotAsked,
    Approximate { blocks: f64 },
    NothingFound,
    StoreEmpty,
}

fn placebo(claims: Vec<Claim>, how: Placebo) -> Box<Decision> {
    let (reason, check) = match how {
        Placebo::NoEvents => (RoutingReason::NoEvents, CheckSetup::Events),
        Placebo::BlockTooLong(IndexBlock { index, engine }) => {
            (RoutingReason::IndexBlockUnfilled { index, engine }, CheckSetup::IndexKeys)
        }
        Placebo::NotAsked => (RoutingReason::IndexNotAsked, CheckSetup::Scorer),
        Placebo::Approximate { blocks } => {
            (RoutingReason::ApproximateDecides { blocks }, CheckSetup::Producer)
        }
        Placebo::NothingFound => (RoutingReason::NothingFound, CheckSetup::IndexKeys),
        Placebo::StoreEmpty => (RoutingReason::IndexStoreEmpty, CheckSetup::IndexStore),
    };
    let void = match how {
        Placebo::NoEvents | Placebo::BlockTooLong(_) => VoidReason::NoEvents,
        _ => VoidReason::NoOperation,
    };
    Box::new(Decision::of(Verdict::Void(void), claims, reason, Some(Remedy::Check(check))))
}

fn unseen_choices(claims: Vec<Claim>, signals: &Signals) -> Decision {
    let (what, remedy) = match signals.get(SignalKind::RoutingChoices) {
        None => (Unseen::Replicas, Remedy::NameReplicas),
        Some(_) => (Unseen::Choices, Remedy::HearEvents),
    };
    Decision::of(Verdict::Unverified, claims, Reason::NoSource(what), Some(remedy))
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
