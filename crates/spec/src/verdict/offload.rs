//! The offload half of the decision table.

use weir_model::{Bytes, OverheadReason, SignalKind, Signals, Verdict, VoidReason};

use super::{Claim, Decision, Facts, NEGLIGIBLE_SHARE, percent, tokens, unverified};
use crate::plan::Arm;

/// The figures that decide.
struct Seen {
    prompt: f64,
    eligible: f64,
    served: f64,
}

pub(super) fn decide(arm: &Arm, facts: &Facts<'_>, signals: &Signals) -> Decision {
    let get = |kind| signals.get(kind);
    let (stored, asked) = (get(SignalKind::StoredBytes), get(SignalKind::ExternalQueryTokens));
    let mut claims = vec![acted("the mechanism stored blocks", stored, "bytes stored")];
    claims.push(acted("the mechanism was asked for blocks", asked, "tokens asked for"));
    if stored.is_none() && asked.is_none() {
        return unverified(claims, "stores or lookups of the offload mechanism");
    }
    if stored.unwrap_or(0.0) == 0.0 && asked.unwrap_or(0.0) == 0.0 {
        return Decision {
            verdict: Verdict::Void(VoidReason::NoOperation),
            claims,
            explanation: "No store and no lookup reached the offload mechanism.".to_owned(),
            remedy: Some(
                "check that the connector is loaded and that its keys are those of its version"
                    .to_owned(),
            ),
        };
    }
    if let Some(void) = never_acted(arm, facts, signals, &claims) {
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
    let farthest = farthest(arm, signals);
    claims.extend(farthest.clone());
    if eligible < NEGLIGIBLE_SHARE * prompt {
        return fits_gpu(claims, &seen, signals, facts);
    }
    if enough {
        let doubt = match farthest {
            Some(claim) if claim.held == Some(false) => {
                " All of it came from nearer tiers: it says nothing about the farthest one."
            }
            _ => "",
        };
        return Decision {
            verdict: Verdict::Effective,
            claims,
            explanation: format!(
                "The tiers served {:.1} % of the reuse that the GPU did not hold.{doubt}",
                percent(served, eligible)
            ),
            remedy: None,
        };
    }
    not_served(claims, &seen, signals, facts)
}

/// A mechanism, or the store that the arm is about, that was there and did nothing.
fn never_acted(
    arm: &Arm,
    facts: &Facts<'_>,
    signals: &Signals,
    claims: &[Claim],
) -> Option<Decision> {
    let get = |kind| signals.get(kind);
    let void = |explanation: String, remedy: &str| {
        Some(Decision {
            verdict: Verdict::Void(VoidReason::NoOperation),
            claims: claims.to_vec(),
            explanation,
            remedy: Some(remedy.to_owned()),
        })
    };
    let served = get(SignalKind::ExternalHitTokens).unwrap_or(0.0);
    if served == 0.0
        && let Some(line) = facts.doubt
    {
        return void(
            format!("It served nothing, and said at its start: {line}."),
            "use a mode of it that runs on this platform",
        );
    }
    let evicted = get(SignalKind::EvictedBytes).unwrap_or(0.0);
    // What the farthest tier shows itself: with nothing in it, nothing of it was measured.
    let offload = arm.offload.as_ref()?;
    let (kind, words, what) = match &offload.store {
        Some(store) => {
            (SignalKind::StoreKeys, format!("key of it is in {}", store.product), "store")
        }
        None if offload.tiers.len() > 1 => {
            (SignalKind::DiskFiles, "file of it is on the disk".to_owned(), "disk")
        }
        None => return None,
    };
    let empty = get(kind) == Some(0.0) && evicted == 0.0;
    if empty && get(SignalKind::StoredBytes).is_some_and(|bytes| bytes > 0.0) {
        let nearer = if served > 0.0 { ": what was served came from nearer tiers" } else { "" };
        return void(
            format!("No {words}{nearer}."),
            &format!(
                "check that the mechanism is told where its {what} is, by the keys of its version"
            ),
        );
    }
    None
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
            "more prefixes or users, or a lower gpu_memory_utilization, so that the working set \
             exceeds the GPU pool"
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

/// There was reuse to serve, and (almost) none of it was served: why?
fn not_served(claims: Vec<Claim>, seen: &Seen, signals: &Signals, facts: &Facts<'_>) -> Decision {
    let get = |kind| signals.get(kind).unwrap_or(0.0);
    let evicted = get(SignalKind::EvictedBytes);
    let refused = get(SignalKind::StoreFailures);
    let capacity = signals.get(SignalKind::TierCapacityBytes).map(|bytes| Bytes(bytes as u64));
    let small = match (capacity, facts.working_set) {
        (Some(capacity), Some(working_set)) => capacity < working_set,
        _ => false,
    };
    let nothing_stored = signals.get(SignalKind::StoredBytes) == Some(0.0);
    // A tier that is too small for anything is the plan's doing; one that should hold it all and
    // takes nothing was not made as planned.
    if nothing_stored && !small && seen.served + evicted == 0.0 {
        let refusing = match (refused > 0.0, capacity) {
            (true, Some(capacity)) => format!(
                "It refused all that it was offered, though the plan gives it {capacity}: its size \
                 did not reach it."
            ),
            _ => "It was asked for blocks that had been computed, and stored none.".to_owned(),
        };
        return Decision {
            verdict: Verdict::Void(VoidReason::NoOperation),
            claims,
            explanation: refusing,
            remedy: Some("check that the connector's keys are those of its version".to_owned()),
        };
    }
    let share = percent(seen.served, seen.eligible);
    let needed = facts.working_set.map_or_else(
        || "a larger tier".to_owned(),
        |bytes| format!("a tier of at least {bytes} per replica, the working set"),
    );
    let verdict = if small || refused > 0.0 || nothing_stored {
        Verdict::OverheadOnly(OverheadReason::TierTooSmall)
    } else if evicted > 0.0 {
        Verdict::OverheadOnly(OverheadReason::Evicted)
    } else {
        Verdict::Unverified
    };
    let (explanation, remedy) = match (&verdict, capacity) {
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
        (Verdict::OverheadOnly(_), _) => (
            format!(
                "The tier evicted {} before they were asked for: it served {share:.1} % of the \
                 reuse.",
                Bytes(evicted as u64)
            ),
            // Recency keeps what is never asked again as long as what is.
            format!(
                "a tier of up to {}, all that was stored, or an eviction policy that keeps what \
                 is asked again",
                Bytes(capacity.map_or(0, |bytes| bytes.0) + evicted as u64)
            ),
        ),
        _ => (
            format!(
                "It stored, evicted nothing, and yet served only {share:.1} % of the reuse: the \
                 signals do not say why."
            ),
            "run it longer, for what is asked again may still have been in flight; or check that \
             stored and asked keys agree (hash seed, block size, model name)"
                .to_owned(),
        ),
    };
    Decision { verdict, claims, explanation, remedy: Some(remedy) }
}

/// The claim of an arm with a disk or a store: that part of it served something.
fn farthest(arm: &Arm, signals: &Signals) -> Option<Claim> {
    let offload = arm.offload.as_ref()?;
    let (kind, name) = if offload.store.is_some() {
        (SignalKind::RemoteHitTokens, "the remote store")
    } else if offload.tiers.len() > 1 {
        (SignalKind::DiskHitTokens, "the disk")
    } else {
        return None;
    };
    let hits = signals.get(kind);
    Some(Claim {
        claim: format!("{name} served blocks"),
        held: hits.map(|hits| hits > 0.0),
        seen: hits.map_or_else(not_observable, |hits| tokens(hits, "hits")),
    })
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
