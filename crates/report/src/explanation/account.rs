//! Where the prompt tokens of an arm came from, and what became of its blocks.

use std::fmt::Write;

use weir_model::{Bytes, SignalKind, TierKind};
use weir_spec::plan::{Arm, Deployment, Prediction, Regime};

use super::sources::Seen;
use crate::numerals;

/// The tiers' signals with what a reader calls them.
const TIERS: [TierKind; 3] = [TierKind::Host, TierKind::Disk, TierKind::Remote];

/// A tier in words.
const fn name(tier: TierKind) -> &'static str {
    match tier {
        TierKind::Gpu => "the GPU",
        TierKind::Host => "host memory",
        TierKind::Disk => "disk",
        TierKind::Remote => "the remote store",
    }
}

/// The split over tiers is believed where its sum is this near to what the engine took from them.
const SPLIT: f64 = 0.1;

/// The account of one arm at one level.
pub(super) struct Account<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) arm: &'a Arm,
    pub(super) seen: &'a Seen,
}

fn bytes(value: f64) -> String {
    Bytes(value.max(0.0) as u64).to_string()
}

fn tokens(value: f64) -> String {
    format!("{} tokens", numerals::whole(value))
}

fn pool_bytes(of: &Deployment) -> Bytes {
    let tokens = u64::from(of.engine.blocks) * u64::from(of.engine.block_size);
    Bytes(tokens * of.engine.kv_bytes_per_token)
}

/// What the GPU's pool is planned to hold, as far as it is known.
pub(super) fn pool_words(of: &Deployment) -> String {
    let tokens = u64::from(of.engine.blocks) * u64::from(of.engine.block_size);
    if tokens == 0 {
        return "The size of the GPU's KV pool is not known.".to_owned();
    }
    let size = match pool_bytes(of) {
        Bytes::ZERO => String::new(),
        bytes => format!(" ({bytes})"),
    };
    format!(
        "The GPU's KV pool is planned with {} tokens{size} per replica.",
        numerals::whole(tokens as f64),
    )
}

/// Where the working set has its place, from the sizes compared.
fn place_words(regime: Regime, set: Bytes, pool: Bytes) -> &'static str {
    match (regime, set <= pool) {
        (Regime::FitsGpu, true) => "the GPU pool holds it",
        (Regime::FitsGpu, false) => {
            "it is larger than the GPU pool, and yet hardly anything asked again is gone from it"
        }
        (Regime::FitsTier, true) => {
            "the GPU pool has room for it alone, but running requests and what is asked once push \
             it out; the largest tier has room for it"
        }
        (Regime::FitsTier, false) => {
            "it is larger than the GPU pool; the largest tier has room for it"
        }
        (Regime::Overflows, true) => {
            "the GPU pool has room for it alone, but running requests and what is asked once push \
             it out; no tier is as large"
        }
        (Regime::Overflows, false) => "it is larger than the GPU pool and than every tier",
        (Regime::EndsBeforeReuse | Regime::ExceedsGpu | Regime::Unknown, _) => regime.meaning(),
    }
}

/// Tokens by tier, where the tiers' own figures add up to what the engine took from them.
pub(crate) fn split(seen: &Seen, served: Option<f64>) -> Option<Vec<(&'static str, f64)>> {
    let tiers: Vec<(&str, f64)> = TIERS
        .iter()
        .filter_map(|tier| Some((name(*tier), seen.get(SignalKind::hits_of(*tier))?)))
        .filter(|(_, tokens)| *tokens > 0.0)
        .collect();
    let sum: f64 = tiers.iter().map(|(_, tokens)| tokens).sum();
    let served = served.unwrap_or(sum);
    let is_whole = (sum - served).abs() <= SPLIT * served;
    (!tiers.is_empty() && is_whole).then_some(tiers)
}

impl Account<'_> {
    /// The working set, against the room for it.
    pub(super) fn regime(&self, foreseen: &Prediction) -> String {
        let Some(offload) = &self.arm.offload else { return String::new() };
        let local = offload.tiers.iter().map(|tier| (tier.kind.name().to_owned(), tier.capacity));
        let store = offload.store.iter().map(|store| (store.product.clone(), store.capacity));
        let tiers: Vec<String> =
            local.chain(store).map(|(name, capacity)| format!("{name} {capacity}")).collect();
        let (pool, regime) = (pool_bytes(self.deployment), foreseen.regime);
        let tiers = tiers.join(" and ");
        let Some(set) = foreseen.working_set else {
            return format!("Regime: {} ({})", regime.meaning(), regime.name());
        };
        format!(
            "Regime: the working set, what is asked again at its peak, is {set} per replica; the \
             GPU pool holds {pool}, the tiers {tiers}: {} ({})",
            place_words(regime, set, pool),
            regime.name()
        )
    }

    /// Where the prompt tokens came from, and who else says so.
    pub(super) fn hits(&self) -> Vec<String> {
        let get = |kind| self.seen.get(kind);
        let Some(prompt) = get(SignalKind::PromptTokens).filter(|prompt| *prompt > 0.0) else {
            return vec!["Prompt tokens: none were seen in the window".to_owned()];
        };
        let share = |part: f64| format!("{:.1} %", 100.0 * part / prompt);
        let mut parts = Vec::new();
        let gpu = get(SignalKind::GpuHitTokens);
        let served = get(SignalKind::ExternalHitTokens);
        parts.push(match gpu {
            Some(gpu) => format!("{} came from the GPU's cache", share(gpu)),
            None => "what came from the GPU's cache is not observable".to_owned(),
        });
        let split = split(self.seen, served);
        match (&split, served) {
            (Some(split), _) => {
                parts.extend(
                    split.iter().map(|(name, part)| format!("{} from {name}", share(*part))),
                );
            }
            (None, Some(served)) if self.arm.offload.is_some() => {
                parts.push(format!("{} from the tiers", share(served)));
            }
            (None, None) if self.arm.offload.is_some() => {
                parts.push("what came from the tiers is not observable".to_owned());
            }
            _ => {}
        }
        if let Some(gpu) = gpu
            && (served.is_some() || self.arm.offload.is_none())
        {
            let computed = (prompt - gpu - served.unwrap_or(0.0)).max(0.0);
            parts.push(format!("{} were computed", share(computed)));
        }
        let mut lines =
            vec![format!("Of {} prompt tokens, {}", numerals::whole(prompt), parts.join(", "))];
        lines.extend(self.reuse(prompt));
        lines.extend(self.who_says());
        lines
    }

    /// What could have been served, and how much of it was.
    fn reuse(&self, prompt: f64) -> Option<String> {
        let seen = self.seen.get(SignalKind::SeenTokens)?;
        let eligible = self.seen.get(SignalKind::EligibleTokens)?;
        let mut words = format!(
            "Asked before: {:.1} % of them; left over by the GPU: {:.1} %",
            100.0 * seen / prompt,
            100.0 * eligible / prompt
        );
        if let Some(served) = self.seen.get(SignalKind::ExternalHitTokens)
            && self.arm.offload.is_some()
            && eligible > 0.0
        {
            let _ = write!(words, ", of which the tiers served {:.1} %", 100.0 * served / eligible);
        }
        Some(words)
    }

    /// The sources of hits where there are several, or where the split is not believed.
    fn who_says(&self) -> Vec<String> {
        let kinds = [
            (SignalKind::GpuHitTokens, "Hits in the GPU's cache"),
            (SignalKind::ExternalHitTokens, "Hits in the tiers"),
        ];
        let served = self.seen.get(SignalKind::ExternalHitTokens);
        let has_split = split(self.seen, served).is_some();
        let mut lines = Vec::new();
        for (kind, title) in kinds {
            if self.seen.all(kind).len() > 1 {
                lines.extend(self.line(title, kind, tokens));
            }
        }
        for tier in TIERS {
            let kind = SignalKind::hits_of(tier);
            let parts = self.seen.all(kind);
            // Nobody needs to hear of a tier that the arm does not have.
            let is_used = parts.iter().any(|seen| seen.value > 0.0);
            if is_used && (parts.len() > 1 || !has_split) {
                lines.extend(self.line(&format!("Hits in {}", name(tier)), kind, tokens));
            }
        }
        lines
    }

    fn line(&self, title: &str, kind: SignalKind, print: fn(f64) -> String) -> Option<String> {
        let told = self.seen.told(kind, print)?;
        let contradiction = if self.seen.contradicts(kind) {
            "; they contradict each other: find out which one is wrong"
        } else {
            ""
        };
        Some(format!("{title}: {told}{contradiction}"))
    }

    /// What was written and read, and what became of it.
    pub(super) fn stored(&self) -> Vec<String> {
        let stored = self.line("Stored", SignalKind::StoredBytes, bytes);
        let mut lines = vec![stored.unwrap_or_else(|| "Stored: not observable".to_owned())];
        lines.extend(self.line("Loaded", SignalKind::LoadedBytes, bytes));
        let moved = [(SignalKind::StoredBytes, "to"), (SignalKind::LoadedBytes, "from")];
        for (kind, way) in moved {
            for (tier, _) in self.seen.tiers(kind) {
                let told = self.seen.told_of(tier, kind, bytes);
                lines.extend(told.map(|told| format!("Moved {way} {}: {told}", name(tier))));
            }
        }
        for (tier, evicted) in self.seen.tiers(SignalKind::EvictedBytes) {
            if evicted > 0.0 {
                let told = self.seen.told_of(tier, SignalKind::EvictedBytes, bytes);
                lines.extend(told.map(|told| format!("Evicted from {}: {told}", name(tier))));
            }
        }
        lines
    }

    /// What the tiers held at the end.
    pub(super) fn held(&self) -> Option<String> {
        let used = self.seen.tiers(SignalKind::TierUsedBytes).filter_map(|(tier, _)| {
            let told = self.seen.told_of(tier, SignalKind::TierUsedBytes, bytes)?;
            Some(format!("{} {told}", name(tier)))
        });
        let keys =
            self.seen.told(SignalKind::StoreKeys, |keys| format!("{} keys", numerals::whole(keys)));
        let parts: Vec<String> = used.chain(keys).collect();
        (!parts.is_empty()).then(|| format!("Held at the end: {}", parts.join(", ")))
    }

    /// What went wrong, where something did.
    pub(super) fn trouble(&self) -> Option<String> {
        let refused = self.seen.tiers(SignalKind::StoreFailures);
        let refused = refused.filter(|(_, count)| *count > 0.0).map(|(tier, count)| {
            format!("{} did not take {} stores", name(tier), numerals::whole(count))
        });
        let kinds = [
            (SignalKind::StoreFailures, "stores were given up"),
            (SignalKind::LoadFailures, "loads did not bring their blocks"),
            (SignalKind::WrongBlocks, "blocks came with other bytes than were stored"),
            (SignalKind::Preemptions, "requests were preempted for want of GPU blocks"),
        ];
        let others = kinds.into_iter().filter_map(|(kind, words)| {
            let count = self.seen.get(kind).filter(|count| *count > 0.0)?;
            Some(format!("{} {words}", numerals::whole(count)))
        });
        let parts: Vec<String> = refused.chain(others).collect();
        (!parts.is_empty()).then(|| format!("Trouble: {}", parts.join(", ")))
    }

    /// What the choices of replicas brought; nothing with one replica.
    pub(super) fn routing(&self) -> Vec<String> {
        let get = |kind| self.seen.get(kind);
        let mut lines = Vec::new();
        if let Some(choices) = get(SignalKind::RoutingChoices).filter(|choices| *choices > 0.0) {
            let share = get(SignalKind::RoutingMaxSharePercent).map_or_else(String::new, |share| {
                format!("; the busiest replica got {share:.1} % of them")
            });
            lines.push(format!("Routing: {} choices{share}", numerals::whole(choices)));
        }
        if let (Some(routed), Some(uniform), Some(best), true) = (
            get(SignalKind::RoutedHitTokens),
            get(SignalKind::UniformHitTokens),
            get(SignalKind::BestHitTokens),
            self.deployment.replicas > 1,
        ) {
            lines.push(format!(
                "Held by the chosen replica: {}; by an average one {}, by the best {}",
                tokens(routed),
                numerals::whole(uniform),
                numerals::whole(best)
            ));
        }
        if let Some(events) = get(SignalKind::IndexEvents) {
            let keys = get(SignalKind::IndexKeys)
                .map_or_else(String::new, |keys| format!(", {} keys", numerals::whole(keys)));
            lines.push(format!("Index: {} KV events{keys}", numerals::whole(events)));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of the GPU pool and the tiers follows from the sizes beside it.
    #[test]
    fn a_regime_does_not_contradict_the_sizes() {
        let (small, large) = (Bytes::from_gib(51), Bytes::from_gib(142));
        for regime in [Regime::FitsGpu, Regime::FitsTier, Regime::Overflows] {
            assert!(!place_words(regime, small, large).contains("larger than the GPU pool"));
            assert!(place_words(regime, large, small).contains("larger than the GPU pool"));
        }
    }
}
