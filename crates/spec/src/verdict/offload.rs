//! The offload half of the decision table.

use weir_model::{Bytes, OverheadReason, SignalKind, Signals, TierKind, Verdict};

use super::contradiction::Contradiction;
use super::inaction;
use super::{
    Claim, Decision, Facts, NEGLIGIBLE_SHARE, is_more_than_rounding, percent, tokens, unverified,
};
use crate::plan::{Arm, Regime};

/// The figures that decide.
struct Seen {
    prompt: f64,
    eligible: f64,
    served: f64,
}

impl Seen {
    /// The part of the eligible reuse that was served, in words. Sources that end a request apart
    /// can give more than the whole.
    fn share(&self) -> String {
        if self.served >= self.eligible {
            return "all".to_owned();
        }
        format!("{:.1} %", percent(self.served, self.eligible))
    }
}

pub(super) fn decide(arm: &Arm, facts: &Facts<'_>, signals: &Signals) -> Decision {
    let get = |kind| signals.get(kind);
    let (stored, asked) = (get(SignalKind::StoredBytes), get(SignalKind::ExternalQueryTokens));
    let mut claims = vec![acted("the mechanism stored blocks", stored, "bytes stored")];
    claims.push(acted("the mechanism was asked for blocks", asked, "tokens asked for"));
    if stored.is_none() && asked.is_none() {
        return unverified(claims, "stores or lookups of the offload mechanism");
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
        return unverified(claims, "what the mechanism served or could have served");
    };
    if prompt == 0.0 {
        return Decision {
            verdict: Verdict::Unverified,
            claims,
            explanation: "No request got its first token in the window.".to_owned(),
            remedy: Some("a longer duration, or fewer users".to_owned()),
        };
    }
    let seen = Seen { prompt, eligible, served };
    let enough = served > 0.0 && served >= facts.effective_share * eligible;
    claims.push(Claim {
        claim: format!(
            "it served at least {:.0} % of the reuse that the GPU did not hold",
            100.0 * facts.effective_share
        ),
        held: Some(enough && eligible >= NEGLIGIBLE_SHARE * prompt),
        seen: format!("{served:.0} of {eligible:.0} tokens ({:.1} %)", percent(served, eligible)),
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
        _ => Decision {
            verdict: Verdict::Effective,
            claims,
            explanation: format!(
                "The tiers served {} of the reuse that the GPU did not hold.",
                seen.share()
            ),
            remedy: None,
        },
    }
}

/// More is asked again than the GPU holds, and not in this window.
fn no_reuse(claims: Vec<Claim>, seen: &Seen) -> Decision {
    Decision {
        verdict: Verdict::OverheadOnly(OverheadReason::NoReuseInWindow),
        claims,
        explanation: format!(
            "The plan foresees that blocks leave the GPU and are asked again, and only {:.2} % of \
             the prompt tokens in the window were such.",
            percent(seen.eligible, seen.prompt)
        ),
        remedy: Some("a longer duration or more users, so that reuse comes round".to_owned()),
    }
}

/// Nothing that is asked again leaves the GPU.
fn fits_gpu(claims: Vec<Claim>, seen: &Seen, signals: &Signals, facts: &Facts<'_>) -> Decision {
    let reuse = signals.get(SignalKind::SeenTokens);
    let nothing_again = reuse.is_some_and(|reuse| reuse < NEGLIGIBLE_SHARE * seen.prompt);
    let working_set = facts
        .working_set
        .map_or_else(String::new, |bytes| format!(" (the working set is {bytes} per replica)"));
    let (explanation, remedy) = if nothing_again {
        (
            "Hardly anything is asked twice: no cache can help.".to_owned(),
            "use a workload with reuse, or run it longer".to_owned(),
        )
    } else {
        (
            format!(
                "The GPU itself holds what is asked again: only {:.2} % of the prompt tokens were \
                 left for the tiers{working_set}.",
                percent(seen.eligible, seen.prompt)
            ),
            "more prefixes or users, or a lower gpu_memory_utilization, so that the GPU pool \
             loses what is asked again"
                .to_owned(),
        )
    };
    Decision {
        verdict: Verdict::OverheadOnly(OverheadReason::FitsGpu),
        claims,
        explanation,
        remedy: Some(remedy),
    }
}

/// What is asked again is shorter than what the mechanism loads at once.
fn fills_no_chunk(claims: Vec<Claim>, chunk: u64, longest: u64) -> Decision {
    Decision {
        verdict: Verdict::OverheadOnly(OverheadReason::ChunkTooLong),
        claims,
        explanation: format!(
            "A chunk of {chunk} tokens is longer than what requests have in common with earlier \
             ones, {longest} tokens at most."
        ),
        remedy: Some(format!("chunk_tokens of at most {longest}, or longer common prefixes")),
    }
}

/// There was reuse to serve, and (almost) none of it was served: why?
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
    let verdict = if small || refused > 0.0 || nothing_stored {
        Verdict::OverheadOnly(OverheadReason::TierTooSmall)
    } else if evicted > 0.0 {
        Verdict::OverheadOnly(OverheadReason::Evicted)
    } else {
        Verdict::Unverified
    };
    let share = percent(seen.served, seen.eligible);
    if verdict == Verdict::Unverified {
        return unexplained(claims, share, signals);
    }
    let (explanation, remedy) =
        why_not_served(&verdict, (small, capacity, Bytes(evicted as u64)), share, facts);
    Decision { verdict, claims, explanation, remedy: Some(remedy) }
}

/// It served `share` percent of what it could have, and what was counted does not say why.
fn unexplained(claims: Vec<Claim>, share: f64, signals: &Signals) -> Decision {
    // One that stored nothing is told otherwise.
    let stored = signals.get(SignalKind::StoredBytes).is_some();
    let kept = signals.over_tiers(SignalKind::EvictedBytes).is_some_and(|bytes| bytes == 0.0);
    let though = match (stored, kept) {
        (true, true) => ", though it stored blocks and evicted none",
        (true, false) => ", though it stored blocks",
        (false, true) => ", though it evicted nothing",
        (false, false) => "",
    };
    Decision {
        verdict: Verdict::Unverified,
        claims,
        explanation: format!(
            "It served only {share:.1} % of the reuse{though}: the signals do not say why."
        ),
        remedy: Some(
            "run it longer, for what is asked again may still have been in flight; or check that \
             stored and asked keys agree (hash seed, block size, model name)"
                .to_owned(),
        ),
    }
}

/// Reason and remedy of a tier that served `share` percent of what it could have.
fn why_not_served(
    verdict: &Verdict,
    (small, capacity, evicted): (bool, Option<Bytes>, Bytes),
    share: f64,
    facts: &Facts<'_>,
) -> (String, String) {
    let needed = facts.working_set.map_or_else(
        || "a larger tier".to_owned(),
        |bytes| format!("a tier of at least {bytes} per replica, the working set"),
    );
    match (verdict, capacity) {
        (Verdict::OverheadOnly(OverheadReason::TierTooSmall), Some(capacity)) if !small => (
            format!(
                "Blocks were refused for want of room, though the largest tier, {capacity}, could \
                 hold what is asked again: it served {share:.1} % of the reuse."
            ),
            "a larger nearest tier: what is on its way to a farther one stands in it".to_owned(),
        ),
        (Verdict::OverheadOnly(OverheadReason::TierTooSmall), Some(capacity)) => (
            format!(
                "The tier of {capacity} cannot hold what is asked again: it served {share:.1} % of \
                 the reuse."
            ),
            needed,
        ),
        (Verdict::OverheadOnly(OverheadReason::TierTooSmall), None) => (
            format!("The tier could not store enough: it served {share:.1} % of the reuse."),
            needed,
        ),
        _ => (
            format!(
                "The tier evicted {evicted} before they were asked for: it served {share:.1} % of \
                 the reuse."
            ),
            // Recency keeps what is never asked again as long as what is.
            format!(
                "a tier of up to {}, all that was stored, or an eviction policy that keeps what \
                 is asked again",
                Bytes(capacity.map_or(0, |bytes| bytes.0) + evicted.0)
            ),
        ),
    }
}

/// What helps where nearer tiers hold all that is asked again.
const LESS_BEFORE: &str =
    "smaller nearer tiers, or a larger working set, so that they do not hold it all";

/// The tier that an arm with a disk or a store is about.
struct Farthest {
    tier: TierKind,
    /// As the report calls it.
    name: &'static str,
    /// That it served a part of the reuse that is more than a rounding.
    claim: Claim,
}

impl Farthest {
    fn of(arm: &Arm, signals: &Signals, eligible: f64) -> Option<Self> {
        let tier = arm.offload.as_ref()?.farthest()?;
        let name = match tier {
            TierKind::Remote => "the remote store",
            TierKind::Disk => "the disk",
            // Whatever a mechanism with host memory alone serves comes from there.
            TierKind::Host | TierKind::Gpu => return None,
        };
        let hits = signals.get(SignalKind::hits_of(tier));
        let claim = Claim {
            claim: format!("{name} served blocks"),
            held: hits.map(|hits| is_more_than_rounding(hits, eligible)),
            seen: hits.map_or_else(not_observable, |hits| tokens(hits, "hits")),
        };
        Some(Self { tier, name, claim })
    }

    /// The decision where the tiers served enough, and this one is not seen to have part in it.
    fn behind_others(&self, claims: Vec<Claim>, signals: &Signals, seen: &Seen) -> Decision {
        let name = self.name;
        if self.claim.held.is_none() {
            return unverified(claims, &format!("what {name} served"));
        }
        let (refused, remedy) =
            inaction::refusal(self.tier, signals).unwrap_or((String::new(), LESS_BEFORE));
        let bytes = signals.get_of(self.tier, SignalKind::EvictedBytes).unwrap_or(0.0);
        let (evicted, remedy) = if bytes > 0.0 {
            (format!(" It let go of {}.", Bytes(bytes as u64)), inaction::ROOM)
        } else {
            (String::new(), remedy)
        };
        Decision {
            verdict: Verdict::OverheadOnly(OverheadReason::NearerTier),
            claims,
            explanation: format!(
                "The tiers served {} of the reuse that the GPU did not hold, and nearer tiers than \
                 {name} nearly all of that: it says nothing about {name}.{refused}{evicted}",
                seen.share()
            ),
            remedy: Some(remedy.to_owned()),
        }
    }
}

fn acted(claim: &str, value: Option<f64>, unit: &str) -> Claim {
    Claim {
        claim: claim.to_owned(),
        held: value.map(|value| value > 0.0),
        seen: value.map_or_else(not_observable, |value| format!("{value:.0} {unit}")),
    }
}

fn not_observable() -> String {
    "not observable".to_owned()
}
