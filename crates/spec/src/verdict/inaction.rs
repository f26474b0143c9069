//! Mechanisms that did nothing, which makes an arm void.

use weir_model::{
    Bytes, CheckSetup, Claim, Claimed, FarthestTier, Inaction, Remedy, Signal, SignalKind, Signals,
    TierKind, Verdict, VoidReason,
};

use super::{Decision, Facts, is_more_than_rounding, sources};
use crate::plan::Arm;

/// Allowed difference of agreeing counts: their windows end a request apart.
const AGREE: f64 = 0.25;
/// Least share of a mechanism's chunks that its store gained as keys: a chunk may be written twice.
const GAINED: f64 = 0.5;
/// Below this number of chunks there is no judgement, since some may not have arrived.
const CHUNKS_MIN: f64 = 8.0;

fn decided(claims: Vec<Claim>, why: Inaction, remedy: Remedy) -> Decision {
    let verdict = Verdict::Void(VoidReason::NoOperation);
    Decision::of(verdict, claims, why, Some(remedy))
}

/// Void where nothing reached the mechanism, where it announced at its start that it would not act,
/// or where its farthest tier holds nothing.
pub(super) fn void(
    arm: &Arm,
    facts: &Facts<'_>,
    signals: &Signals,
    claims: &[Claim],
) -> Option<Decision> {
    unreached(arm, facts, signals, claims)
        .or_else(|| empty_tier(arm, signals, claims))
        .or_else(|| store_of_others(arm, signals, claims))
}

fn unreached(
    arm: &Arm,
    facts: &Facts<'_>,
    signals: &Signals,
    claims: &[Claim],
) -> Option<Decision> {
    let count = |kind| signals.get(kind).unwrap_or(0.0);
    let stored = count(SignalKind::StoredBytes);
    let chunk_tokens = arm.offload.as_ref().map_or(0, |offload| u64::from(offload.chunk_tokens));
    if let Some(longest) = facts.longest_offer.filter(|longest| *longest < chunk_tokens)
        && stored == 0.0
    {
        let reason = Inaction::NoChunkFilled { chunk_tokens, longest };
        return Some(decided(claims.to_vec(), reason, Remedy::LongerPrompts));
    }
    if stored == 0.0 && count(SignalKind::ExternalQueryTokens) == 0.0 {
        let reason = Inaction::NothingReached;
        return Some(decided(claims.to_vec(), reason, Remedy::Check(CheckSetup::Connector)));
    }
    let served = count(SignalKind::ExternalHitTokens);
    if served == 0.0
        && let Some(line) = facts.startup_warning
    {
        let reason = Inaction::StartupWarning { line: line.to_owned() };
        return Some(decided(claims.to_vec(), reason, Remedy::OtherMode));
    }
    None
}

fn empty_tier(arm: &Arm, signals: &Signals, claims: &[Claim]) -> Option<Decision> {
    let get = |kind| signals.get(kind);
    let stored = get(SignalKind::StoredBytes).unwrap_or(0.0);
    let served = get(SignalKind::ExternalHitTokens).unwrap_or(0.0);
    let offload = arm.offload.as_ref()?;
    let tier = offload.farthest()?;
    let (held, farthest) = match (tier, &offload.store) {
        (TierKind::Remote, Some(store)) => {
            (SignalKind::StoreKeys, FarthestTier::Store { product: store.product })
        }
        (TierKind::Disk, _) => (SignalKind::DiskFiles, FarthestTier::Disk),
        _ => return None,
    };
    // Its own evictions: those of nearer tiers do not matter.
    let evicted = signals.get_of(tier, SignalKind::EvictedBytes).unwrap_or(0.0);
    let empty = get(held) == Some(0.0) && evicted == 0.0;
    if !empty || stored == 0.0 {
        return None;
    }
    match hits(tier, signals) {
        Hits::None => {}
        Hits::Alone(served) => return Some(one_against_one(claims, tier, served)),
        // Agreeing counts of hits are right: the count of held keys is wrong.
        Hits::Agreed(_) => return None,
    }
    let refused = refusal(tier, signals);
    let remedy = refused.map_or(Remedy::Check(CheckSetup::Place(tier)), room);
    let (nearer_served, refused) = (served > 0.0, refused.cloned());
    let reason = Inaction::FarthestEmpty { tier: farthest, nearer_served, refused };
    Some(decided(claims.to_vec(), reason, remedy))
}

/// Stores refused on their way to the farthest tier, by it or by host memory.
pub(super) fn refusal(tier: TierKind, signals: &Signals) -> Option<&Signal> {
    let refused = |by| {
        let mut seen = signals.0.get(&SignalKind::StoreFailures)?.iter();
        seen.find(|signal| signal.tier == Some(by) && signal.value > 0.0)
    };
    refused(tier).or_else(|| refused(TierKind::Host))
}

pub(super) fn room(refused: &Signal) -> Remedy {
    if refused.tier == Some(TierKind::Host) {
        Remedy::LargerNearestOrFaster
    } else {
        Remedy::RoomInTier
    }
}

/// A store that gained hardly any of the keys that the mechanism reports. Its traffic can look like
/// the arm's where others read and write it.
fn store_of_others(arm: &Arm, signals: &Signals, claims: &[Claim]) -> Option<Decision> {
    let offload = arm.offload.as_ref()?;
    let store = offload.store.as_ref()?;
    let added = signals.get(SignalKind::StoreKeysAdded)?;
    // Keys with the arm's own names show where they are.
    if signals.get(SignalKind::StoreKeys).is_some() {
        return None;
    }
    let mut stores = signals.0.get(&SignalKind::StoredBytes)?.iter();
    let stored = stores.find(|signal| signal.tier == Some(TierKind::Remote))?;
    let chunks = stored.value / offload.kept(offload.chunk_tokens.into()).0.max(1) as f64;
    let is_so = chunks >= CHUNKS_MIN && added < GAINED * chunks;
    is_so.then(|| {
        let (who, product) = (stored.source.who.clone(), store.product);
        let reason = Inaction::StoreOfOthers { who, chunks, product, added_keys: added };
        let remedy = Some(Remedy::Check(CheckSetup::StoreAlone));
        Decision::of(Verdict::Unverified, claims.to_vec(), reason, remedy)
    })
}

/// Hits of a tier, by the number of sources.
enum Hits<'a> {
    None,
    /// One source, or several that differ.
    Alone(&'a Signal),
    /// Several that nearly agree.
    Agreed(&'a Signal),
}

fn hits(tier: TierKind, signals: &Signals) -> Hits<'_> {
    let eligible = signals.get(SignalKind::EligibleTokens).unwrap_or(0.0);
    let served = |signal: &&Signal| !signal.source.at_lookup;
    let mut sources = sources(signals, SignalKind::hits_of(tier)).filter(served);
    let Some(first) = sources.next() else { return Hits::None };
    let near = |other: &Signal| {
        other.source.who != first.source.who
            && (other.value - first.value).abs() <= AGREE * other.value.max(first.value)
    };
    match (is_more_than_rounding(first.value, eligible), sources.any(near)) {
        (false, _) => Hits::None,
        (true, false) => Hits::Alone(first),
        (true, true) => Hits::Agreed(first),
    }
}

/// A tier was counted as empty, though several sources report hits of it.
pub(super) fn miscount(arm: &Arm, signals: &Signals) -> Option<Claim> {
    let tier = arm.offload.as_ref()?.farthest()?;
    let held = match tier {
        TierKind::Remote => SignalKind::StoreKeys,
        TierKind::Disk => SignalKind::DiskFiles,
        TierKind::Host | TierKind::Gpu => return None,
    };
    let Hits::Agreed(served) = hits(tier, signals) else { return None };
    (signals.get(held) == Some(0.0)).then(|| Claim {
        claim: Claimed::HeldCounted { served: served.clone() },
        held: Some(false),
    })
}

/// A count of zero against one source of hits: either may be wrong.
fn one_against_one(claims: &[Claim], tier: TierKind, served: &Signal) -> Decision {
    let reason = Inaction::EmptyAndServed { tier, served: served.clone() };
    let remedy = Some(Remedy::Check(CheckSetup::Contents(tier)));
    Decision::of(Verdict::Unverified, claims.to_vec(), reason, remedy)
}

/// For a mechanism that stored nothing of what it was offered. A tier that is too small is the
/// plan's fault; one that should hold it all was not configured as planned.
pub(super) fn took_nothing(claims: Vec<Claim>, refused: bool, capacity: Option<Bytes>) -> Decision {
    let reason = match (refused, capacity) {
        (true, Some(capacity)) => Inaction::RefusedAll { capacity },
        _ => Inaction::StoredNothing,
    };
    decided(claims, reason, Remedy::Check(CheckSetup::Connector))
}
