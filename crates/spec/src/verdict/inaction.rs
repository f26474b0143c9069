//! Mechanisms that were there and did nothing: what makes an arm void.

use weir_model::{Bytes, Signal, SignalKind, Signals, TierKind, Verdict, VoidReason};

use super::{Claim, Decision, Facts, is_more_than_rounding, sources};
use crate::plan::Arm;

/// Two who counted the same tokens agree up to this: their windows end a request apart.
const AGREE: f64 = 0.25;
/// A store that took a mechanism's chunks gained at least this share of them as keys: a chunk may
/// be written twice.
const GAINED: f64 = 0.5;
/// Of fewer chunks than this nothing is said: those on their way are not there yet.
const CHUNKS_MIN: f64 = 8.0;
/// What every arm is told whose keys may not have been understood.
const CHECK_KEYS: &str = "check that the connector is loaded and that its keys are those of its \
                          version";

fn decided(claims: Vec<Claim>, explanation: String, remedy: &str) -> Decision {
    Decision {
        verdict: Verdict::Void(VoidReason::NoOperation),
        claims,
        explanation,
        remedy: Some(remedy.to_owned()),
    }
}

/// The decision on a mechanism that nothing reached, that said at its start that it would not act,
/// or whose farthest tier, which the arm is about, holds nothing.
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

/// A mechanism that nothing reached, or that said that it would not act.
fn unreached(
    arm: &Arm,
    facts: &Facts<'_>,
    signals: &Signals,
    claims: &[Claim],
) -> Option<Decision> {
    let count = |kind| signals.get(kind).unwrap_or(0.0);
    let stored = count(SignalKind::StoredBytes);
    let chunk = arm.offload.as_ref().map_or(0, |offload| u64::from(offload.chunk_tokens));
    if let Some(longest) = facts.longest_offer.filter(|longest| *longest < chunk)
        && stored == 0.0
    {
        let words =
            format!("No request fills a chunk of {chunk} tokens: the longest has {longest}.");
        let remedy = "longer prompts, or chunk_tokens no longer than what prompts have in common";
        return Some(decided(claims.to_vec(), words, remedy));
    }
    if stored == 0.0 && count(SignalKind::ExternalQueryTokens) == 0.0 {
        let words = "No store and no lookup reached the offload mechanism.".to_owned();
        return Some(decided(claims.to_vec(), words, CHECK_KEYS));
    }
    let served = count(SignalKind::ExternalHitTokens);
    if served == 0.0
        && let Some(line) = facts.doubt
    {
        let words = format!("It served nothing, and said at its start: {line}.");
        let remedy = "use a mode of it that runs on this platform";
        return Some(decided(claims.to_vec(), words, remedy));
    }
    None
}

/// A farthest tier that holds nothing.
fn empty_tier(arm: &Arm, signals: &Signals, claims: &[Claim]) -> Option<Decision> {
    let get = |kind| signals.get(kind);
    let stored = get(SignalKind::StoredBytes).unwrap_or(0.0);
    let served = get(SignalKind::ExternalHitTokens).unwrap_or(0.0);
    let offload = arm.offload.as_ref()?;
    let tier = offload.farthest()?;
    let (held, nothing, role) = match (tier, &offload.store) {
        (TierKind::Remote, Some(store)) => {
            (SignalKind::StoreKeys, format!("No key of it is in {}", store.product), "store")
        }
        (TierKind::Disk, _) => {
            (SignalKind::DiskFiles, "No file of it is on the disk".to_owned(), "disk")
        }
        _ => return None,
    };
    // Its own evictions: what nearer tiers let go of says nothing about it.
    let evicted = signals.get_of(tier, SignalKind::EvictedBytes).unwrap_or(0.0);
    let empty = get(held) == Some(0.0) && evicted == 0.0;
    if !empty || stored == 0.0 {
        return None;
    }
    match hits(tier, signals) {
        Hits::None => {}
        Hits::Alone(seen) => return Some(one_against_one(claims, role, &seen)),
        // Several who counted what was served are not wrong together: the count of what is held is.
        Hits::Agreed(_) => return None,
    }
    let nearer = if served > 0.0 { ": what was served came from nearer tiers" } else { "" };
    let (refused, remedy) = match refusal(tier, signals) {
        Some((words, remedy)) => (words, remedy.to_owned()),
        None => (
            String::new(),
            format!(
                "check that the mechanism is told where its {role} is, by the keys of its version"
            ),
        ),
    };
    Some(decided(claims.to_vec(), format!("{nothing}{nearer}.{refused}"), &remedy))
}

/// Who refused stores on their way to the farthest tier, as a sentence after another, and what
/// helps there; nothing where nobody did.
pub(super) fn refusal(tier: TierKind, signals: &Signals) -> Option<(String, &'static str)> {
    if let Some(refused) = refusals(tier, signals) {
        return Some((format!(" It refused {refused}."), ROOM));
    }
    let before = refusals(TierKind::Host, signals)?;
    let words = format!(" Host memory, which leads there, refused {before}.");
    Some((words, NEARER_ROOM))
}

/// A store that gained hardly a key of all that the mechanism says that it put there. Others who
/// read and write it can make its bytes look like the arm's.
fn store_of_others(arm: &Arm, signals: &Signals, claims: &[Claim]) -> Option<Decision> {
    let offload = arm.offload.as_ref()?;
    let store = offload.store.as_ref()?;
    let added = signals.get(SignalKind::StoreKeysAdded)?;
    // Keys with the arm's own names say where they are.
    if signals.get(SignalKind::StoreKeys).is_some() {
        return None;
    }
    let mut stores = signals.0.get(&SignalKind::StoredBytes)?.iter();
    let stored = stores.find(|signal| signal.tier == Some(TierKind::Remote))?;
    let chunks = stored.value / offload.kept(offload.chunk_tokens.into()).0.max(1) as f64;
    let is_so = chunks >= CHUNKS_MIN && added < GAINED * chunks;
    is_so.then(|| Decision {
        verdict: Verdict::Unverified,
        claims: claims.to_vec(),
        explanation: format!(
            "{} tells of {chunks:.0} chunks put into a store, and the {} that the arm names gained \
             {added:.0} keys: nothing shows that they are one store.",
            stored.source.who, store.product
        ),
        remedy: Some(
            "check that store.address is the store that the mechanism was told, and keep others \
             from it"
                .to_owned(),
        ),
    })
}

/// What was served out of a tier, as those say who counted it.
enum Hits {
    /// Nothing beyond a rounding.
    None,
    /// One source says so, or several that differ.
    Alone(String),
    /// Several say nearly the same.
    Agreed(String),
}

fn hits(tier: TierKind, signals: &Signals) -> Hits {
    let eligible = signals.get(SignalKind::EligibleTokens).unwrap_or(0.0);
    let served = |signal: &&Signal| !signal.source.at_lookup;
    let mut sources = sources(signals, SignalKind::hits_of(tier)).filter(served);
    let Some(first) = sources.next() else { return Hits::None };
    let told = || format!("{:.0} tokens were served out of it ({})", first.value, first.source.who);
    let near = |other: &Signal| {
        other.source.who != first.source.who
            && (other.value - first.value).abs() <= AGREE * other.value.max(first.value)
    };
    match (is_more_than_rounding(first.value, eligible), sources.any(near)) {
        (false, _) => Hits::None,
        (true, false) => Hits::Alone(told()),
        (true, true) => Hits::Agreed(told()),
    }
}

/// That a tier was counted as empty while it served, where several say that it served.
pub(super) fn miscount(arm: &Arm, signals: &Signals) -> Option<Claim> {
    let tier = arm.offload.as_ref()?.farthest()?;
    let held = match tier {
        TierKind::Remote => SignalKind::StoreKeys,
        TierKind::Disk => SignalKind::DiskFiles,
        TierKind::Host | TierKind::Gpu => return None,
    };
    let Hits::Agreed(served) = hits(tier, signals) else { return None };
    (signals.get(held) == Some(0.0)).then(|| Claim {
        claim: "what it held was counted".to_owned(),
        held: Some(false),
        seen: format!("0 at the end, and {served}"),
    })
}

/// A count of nothing beside one source of hits: either may be wrong.
fn one_against_one(claims: &[Claim], role: &str, served: &str) -> Decision {
    Decision {
        verdict: Verdict::Unverified,
        claims: claims.to_vec(),
        explanation: format!(
            "The {role} was counted as empty, and {served}: they contradict each other."
        ),
        remedy: Some(format!(
            "look into the {role} by hand, and whether something else removes what is in it"
        )),
    }
}

/// What helps where a tier refused to be written.
pub(super) const ROOM: &str = "give it room (maxmemory, free space) and the right to be written, \
                               and its keys no life that ends";

/// What helps where host memory let go of blocks before they were written farther.
const NEARER_ROOM: &str = "a larger nearest tier, or a faster farthest one: what is on its way \
                           there stands in the nearest";

/// How many stores a tier refused, and who says so; nothing where it did not.
fn refusals(tier: TierKind, signals: &Signals) -> Option<String> {
    let mut seen = signals.0.get(&SignalKind::StoreFailures)?.iter();
    let refused = seen.find(|signal| signal.tier == Some(tier) && signal.value > 0.0)?;
    Some(format!("{:.0} stores ({})", refused.value, refused.source))
}

/// The decision on a mechanism that took nothing of what it was offered. A tier that is too small
/// for anything is the plan's doing; one that should hold it all was not made as planned.
pub(super) fn took_nothing(claims: Vec<Claim>, refused: bool, capacity: Option<Bytes>) -> Decision {
    let words = match (refused, capacity) {
        (true, Some(capacity)) => format!(
            "It refused all that it was offered, though the plan gives it {capacity}: its size did \
             not reach it."
        ),
        _ => "It was asked for blocks that had been computed, and stored none.".to_owned(),
    };
    decided(claims, words, CHECK_KEYS)
}
