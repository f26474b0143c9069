//! The offload half of the decision table.

use weir_model::{
    Bytes, CheckSetup, Claim, Claimed, OffloadReason, OverheadReason, Remedy, SignalKind, Signals,
    TierKind, TokenShare, Unseen, Verdict,
};

use super::contradiction::Contradiction;
use super::inaction;
use super::{Decision, Facts, NEGLIGIBLE_SHARE, is_more_than_rounding, unverified};
use crate::plan::{Arm, Regime};

struct Seen {
    prompt: f64,
    eligible: f64,
    served: f64,
}

impl Seen {
    const fn served(&self) -> TokenShare {
        TokenShare { part: self.served, whole: self.eligible }
    }

    const fn eligible(&self) -> TokenShare {
        TokenShare { part: self.eligible, whole: self.prompt }
    }
}

pub(super) fn decide(arm: &Arm, facts: &Facts<'_>, signals: &Signals) -> Decision {
    let get = |kind| signals.get(kind);
    let (bytes, tokens) = (get(SignalKind::StoredBytes), get(SignalKind::ExternalQueryTokens));
    let acted = |claim, value: Option<f64>| Claim { claim, held: value.map(|value| value > 0.0) };
    let mut claims =
        vec![acted(Claimed::Stored { bytes }, bytes), acted(Claimed::Asked { tokens }, tokens)];
    if bytes.is_none() && tokens.is_none() {
        return unverified(claims, Unseen::Operations);
    }
    if let Some(why) = Contradiction::of(arm, facts, signals) {
        return why.decided(claims);
    }
    if let Some(void) = inaction::void(arm, facts, signals, &claims) {
        return void;
    }
    let (Some(prompt), Some(eligible), Some(served)) = (
        get(SignalKind::PromptTokens),
        get(SignalKind::EligibleTokens),
        get(SignalKind::ExternalHitTokens),
    ) else {
        return unverified(claims, Unseen::Served);
    };
    if prompt == 0.0 {
        let remedy = Some(Remedy::LongerOrFewerUsers);
        return Decision::of(Verdict::Unverified, claims, OffloadReason::NoFirstToken, remedy);
    }
    let seen = Seen { prompt, eligible, served };
    let enough = served > 0.0 && served >= facts.effective_share * eligible;
    claims.push(Claim {
        claim: Claimed::ServedEnough { least: facts.effective_share, served: seen.served() },
        held: Some(enough && eligible >= NEGLIGIBLE_SHARE * prompt),
    });
    let farthest = Farthest::of(arm, signals, eligible);
    claims.extend(farthest.as_ref().map(|tier| tier.claim.clone()));
    claims.extend(inaction::miscount(arm, signals));
    if eligible < NEGLIGIBLE_SHARE * prompt {
        return if matches!(facts.regime, Regime::FitsGpu | Regime::Unknown) {
            fits_gpu(claims, &seen, signals, facts)
        } else {
            no_reuse(claims, &seen)
        };
    }
    match farthest {
        _ if !enough => {
            let chunk = arm.offload.as_ref().map_or(0, |offload| offload.chunk_tokens.into());
            match facts.longest_reuse.filter(|longest| *longest < chunk) {
                Some(longest) => fills_no_chunk(claims, chunk, longest),
                None => not_served(claims, &seen, signals, facts),
            }
        }
        Some(tier) if tier.claim.held != Some(true) => tier.behind_others(claims, signals, &seen),
        _ => Decision::of(Verdict::Effective, claims, OffloadReason::Served(seen.served()), None),
    }
}

fn overhead(
    why: OverheadReason,
    claims: Vec<Claim>,
    reason: OffloadReason,
    remedy: Remedy,
) -> Decision {
    Decision::of(Verdict::OverheadOnly(why), claims, reason, Some(remedy))
}

/// There is reuse beyond the GPU, but not in this window.
fn no_reuse(claims: Vec<Claim>, seen: &Seen) -> Decision {
    let reason = OffloadReason::NoReuseInWindow { eligible: seen.eligible() };
    overhead(OverheadReason::NoReuseInWindow, claims, reason, Remedy::LongerOrMoreUsers)
}

fn fits_gpu(claims: Vec<Claim>, seen: &Seen, signals: &Signals, facts: &Facts<'_>) -> Decision {
    let reuse = signals.get(SignalKind::SeenTokens);
    let nothing_again = reuse.is_some_and(|reuse| reuse < NEGLIGIBLE_SHARE * seen.prompt);
    let (reason, remedy) = if nothing_again {
        (OffloadReason::NothingAskedTwice, Remedy::AddReuse)
    } else {
        let (eligible, working_set) = (seen.eligible(), facts.working_set);
        (OffloadReason::FitsGpu { eligible, working_set }, Remedy::ExceedGpu)
    };
    overhead(OverheadReason::FitsGpu, claims, reason, remedy)
}

/// Reuse is shorter than the mechanism's chunk.
fn fills_no_chunk(claims: Vec<Claim>, chunk_tokens: u64, longest: u64) -> Decision {
    let reason = OffloadReason::ChunkTooLong { chunk_tokens, longest };
    let remedy = Remedy::ShorterChunks { longest };
    overhead(OverheadReason::ChunkTooLong, claims, reason, remedy)
}

fn not_served(claims: Vec<Claim>, seen: &Seen, signals: &Signals, facts: &Facts<'_>) -> Decision {
    let over = |kind| signals.over_tiers(kind).unwrap_or(0.0);
    let evicted = over(SignalKind::EvictedBytes);
    let refused = over(SignalKind::StoreFailures);
    let capacity = signals.get(SignalKind::TierCapacityBytes).map(|bytes| Bytes(bytes as u64));
    let small = match (capacity, facts.working_set) {
        (Some(capacity), Some(working_set)) => capacity < working_set,
        _ => false,
    };
    let nothing_stored = signals.get(SignalKind::StoredBytes) == Some(0.0);
    if nothing_stored && !small && seen.served + evicted == 0.0 {
        return inaction::took_nothing(claims, refused > 0.0, capacity);
    }
    let served = seen.served();
    if small || refused > 0.0 || nothing_stored {
        let (reason, remedy) = match capacity {
            Some(capacity) if !small => {
                (OffloadReason::NoRoom { capacity, served }, Remedy::LargerNearest)
            }
            capacity => {
                let reason = OffloadReason::TierTooSmall { capacity, served };
                (reason, Remedy::LargerTier(facts.working_set))
            }
        };
        return overhead(OverheadReason::TierTooSmall, claims, reason, remedy);
    }
    if evicted > 0.0 {
        let evicted = Bytes(evicted as u64);
        // LRU keeps data without reuse as long as data with reuse.
        let stored = Bytes(capacity.map_or(0, |bytes| bytes.0) + evicted.0);
        let reason = OffloadReason::Evicted { evicted, served };
        let remedy = Remedy::LargerOrKeeping(stored);
        return overhead(OverheadReason::Evicted, claims, reason, remedy);
    }
    // A mechanism known to have stored nothing was handled before.
    let stored = signals.get(SignalKind::StoredBytes).is_some();
    let kept = signals.over_tiers(SignalKind::EvictedBytes).is_some_and(|bytes| bytes == 0.0);
    let reason = OffloadReason::Unexplained { served, stored, kept };
    Decision::of(Verdict::Unverified, claims, reason, Some(Remedy::Check(CheckSetup::Keys)))
}

struct Farthest {
    tier: TierKind,
    /// Whether it served more than a rounding of the reuse.
    claim: Claim,
}

impl Farthest {
    fn of(arm: &Arm, signals: &Signals, eligible: f64) -> Option<Self> {
        let tier = arm.offload.as_ref()?.farthest()?;
        // A mechanism with only host memory serves everything from there.
        if matches!(tier, TierKind::Host | TierKind::Gpu) {
            return None;
        }
        let tokens = signals.get(SignalKind::hits_of(tier));
        let claim = Claim {
            claim: Claimed::FarthestServed { tier, tokens },
            held: tokens.map(|tokens| is_more_than_rounding(tokens, eligible)),
        };
        Some(Self { tier, claim })
    }

    /// The tiers served enough, but this one shows no part in it.
    fn behind_others(&self, claims: Vec<Claim>, signals: &Signals, seen: &Seen) -> Decision {
        let tier = self.tier;
        if self.claim.held.is_none() {
            return unverified(claims, Unseen::ServedBy(tier));
        }
        let refused = inaction::refusal(tier, signals).cloned();
        let evicted = signals.get_of(tier, SignalKind::EvictedBytes).filter(|bytes| *bytes > 0.0);
        let remedy = match &refused {
            _ if evicted.is_some() => Remedy::RoomInTier,
            Some(refused) => inaction::room(refused),
            None => Remedy::SmallerNearer,
        };
        let evicted = evicted.map(|bytes| Bytes(bytes as u64));
        let reason = OffloadReason::NearerServed { tier, served: seen.served(), refused, evicted };
        overhead(OverheadReason::NearerTier, claims, reason, remedy)
    }
}
