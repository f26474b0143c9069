//! Where the prompt tokens of an arm came from, and what became of its blocks.

use std::fmt::Write;

use weir_model::{Bytes, HeldIn, LoadedFrom, SignalKind, TierKind};
use weir_spec::plan::{Arm, Deployment, Prediction, Regime};

use crate::numerals;
use crate::sources::{Seen, TokenSources, tier_name};

pub(super) struct Account<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) arm: &'a Arm,
    pub(super) seen: &'a Seen,
    /// Moved bytes per byte of the model, where they differ.
    pub(super) byte_scale: Option<f64>,
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

/// The planned capacity of the GPU's pool, as far as it is known.
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

/// Where the working set fits, by its sizes.
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

impl Account<'_> {
    /// The working set, against the capacity for it.
    pub(super) fn regime(&self, predicted: &Prediction) -> String {
        let Some(offload) = &self.arm.offload else { return String::new() };
        let local = offload.tiers.iter().map(|tier| (tier.kind.name().to_owned(), tier.capacity));
        let store =
            offload.store.iter().map(|store| (store.product.name().to_owned(), store.capacity));
        let tiers: Vec<String> =
            local.chain(store).map(|(name, capacity)| format!("{name} {capacity}")).collect();
        let regime = predicted.regime;
        let engine = self.deployment.engine_of(self.arm);
        // In the tiers' form, which may hold windows for more tokens than the GPU does.
        let pool = match offload.kept(u64::from(engine.blocks) * u64::from(engine.block_size)) {
            Bytes::ZERO => pool_bytes(self.deployment),
            bytes => bytes,
        };
        let tiers = tiers.join(" and ");
        let Some(set) = predicted.working_set else {
            return format!("Regime: {} ({})", regime.meaning(), regime.name());
        };
        format!(
            "Regime: the working set, what is asked again at its peak, is {set} per replica; the \
             GPU pool holds {pool}, the tiers {tiers}: {} ({})",
            place_words(regime, set, pool),
            regime.name()
        )
    }

    pub(super) fn only_tier(arm: &Arm) -> Option<TierKind> {
        let mut tiers = arm.offload.as_ref()?.capacities();
        let (only, _) = tiers.next()?;
        tiers.next().is_none().then_some(only)
    }

    pub(super) fn hits(&self) -> Vec<String> {
        let gpu_only = self.arm.is_gpu_only();
        let only_tier = Self::only_tier(self.arm);
        let Some(of) = TokenSources::of(self.seen, gpu_only, only_tier) else {
            return vec!["Prompt tokens: none were seen in the window".to_owned()];
        };
        let share = |part: f64| format!("{:.1} %", 100.0 * part / of.prompt);
        let mut parts = Vec::new();
        match (of.cached, of.gpu) {
            (Some(cached), _) => parts.push(format!("{} came from some cache", share(cached))),
            (None, Some(gpu)) => parts.push(format!("{} came from the GPU's cache", share(gpu))),
            (None, None) => {
                parts.push("what came from the GPU's cache is not observable".to_owned());
            }
        }
        parts.extend(of.tiers.iter().map(|(name, part)| format!("{} from {name}", share(*part))));
        parts.extend(of.behind.map(|part| format!("{} from the tiers", share(part))));
        match of.computed {
            Some(computed) => parts.push(format!("{} were computed", share(computed))),
            None if !gpu_only => {
                parts.push("what came from the tiers is not observable".to_owned());
            }
            None => {}
        }
        // With one source the name adds nothing.
        let by = if self.seen.all(SignalKind::PromptTokens).len() > 1 {
            format!(" ({})", of.part)
        } else {
            String::new()
        };
        let prompt = numerals::whole(of.prompt);
        let mut lines = vec![format!("Of {prompt} prompt tokens{by}, {}", parts.join(", "))];
        lines.extend(self.reuse());
        lines.extend(self.who_says(&of));
        lines
    }

    /// Shares of the prompt tokens: what could have been served, and what was, by the source that
    /// knows earlier prompts.
    fn reuse(&self) -> Option<String> {
        let asked = self.seen.all(SignalKind::SeenTokens).first()?;
        let prompt = self.seen.by(&asked.part, SignalKind::PromptTokens)?;
        let eligible = self.seen.get(SignalKind::EligibleTokens)?;
        if prompt <= 0.0 {
            return None;
        }
        let served = self.seen.all(SignalKind::ExternalHitTokens).first();
        let by = |part: &str| {
            let is_other = self.seen.all(SignalKind::PromptTokens).len() > 1;
            if is_other { format!(" ({part})") } else { String::new() }
        };
        let mut words = format!(
            "Reusable: {:.1} % of prompt tokens{}; {:.1} % missed the GPU cache",
            100.0 * asked.value / prompt,
            by(&asked.part),
            100.0 * eligible / prompt
        );
        if let Some(served) = served
            && self.arm.offload.is_some()
            && eligible > 0.0
        {
            let by = by(&served.part);
            let _ = if served.value >= eligible {
                write!(words, ", and the tiers served all of those{by}")
            } else {
                let share = 100.0 * served.value / eligible;
                write!(words, ", and the tiers served {share:.1} % of those{by}")
            };
        }
        Some(words)
    }

    /// The sources of prompts and hits where several differ, or where the split is not accepted.
    fn who_says(&self, of: &TokenSources) -> Vec<String> {
        let kinds = [
            (SignalKind::GpuHitTokens, "Hits in the GPU's cache"),
            (SignalKind::ExternalHitTokens, "Hits in the tiers"),
        ];
        let mut lines = Vec::new();
        if self.seen.differs(SignalKind::PromptTokens) {
            lines.extend(self.line("Prompt tokens", SignalKind::PromptTokens, tokens));
        }
        for (kind, title) in kinds {
            // Figures outside of the account stand beside it.
            let is_outside = kind == SignalKind::ExternalHitTokens
                && self.arm.offload.is_some()
                && of.computed.is_none();
            if self.seen.all(kind).len() > 1 || is_outside {
                lines.extend(self.line(title, kind, tokens));
            }
        }
        let has_split = !of.tiers.is_empty();
        for tier in TierKind::ALL.into_iter().skip(1) {
            let kind = SignalKind::hits_of(tier);
            let parts = self.seen.all(kind);
            // Unused tiers are left out.
            let is_used = parts.iter().any(|seen| seen.value > 0.0);
            if is_used && (parts.len() > 1 || !has_split) {
                lines.extend(self.line(&format!("Hits in {}", tier_name(tier)), kind, tokens));
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

    pub(super) fn stored(&self) -> Vec<String> {
        let stored = self.line("Stored", SignalKind::StoredBytes, bytes);
        let mut lines = vec![stored.unwrap_or_else(|| "Stored: not observable".to_owned())];
        lines.extend(self.line("Loaded", SignalKind::LoadedBytes, bytes));
        let moved = [(SignalKind::StoredBytes, "to"), (SignalKind::LoadedBytes, "from")];
        for (kind, way) in moved {
            for (tier, _) in self.seen.tiers(kind) {
                let told = self.seen.told_of(tier, kind, bytes);
                lines.extend(told.map(|told| format!("Moved {way} {}: {told}", tier_name(tier))));
            }
        }
        lines.extend(self.origins());
        for (tier, evicted) in self.seen.tiers(SignalKind::EvictedBytes) {
            if evicted > 0.0 {
                let told = self.seen.told_of(tier, SignalKind::EvictedBytes, bytes);
                lines.extend(told.map(|told| format!("Evicted from {}: {told}", tier_name(tier))));
            }
        }
        lines
    }

    /// Whether hits of a device tier came from the device, or from memory before it.
    fn origins(&self) -> Vec<String> {
        let Some(offload) = &self.arm.offload else { return Vec::new() };
        let per_token = offload.chunk_bytes.kept as f64 / f64::from(offload.chunk_tokens.max(1));
        let read = self.seen.tiers(SignalKind::DeviceReadBytes);
        let told = read.filter_map(|(tier, read)| {
            let tokens = self.seen.get(SignalKind::hits_of(tier)).filter(|tokens| *tokens > 0.0)?;
            let from = LoadedFrom::of(HeldIn::Device, Some(read / (tokens * per_token)));
            let told = self.seen.told_of(tier, SignalKind::DeviceReadBytes, bytes)?;
            let scale = self.byte_scale.map_or(String::new(), |scale| {
                format!(" (the model's bytes; {scale} of them were moved)")
            });
            Some(format!("Served by {} from: {from}; read there: {told}{scale}", tier_name(tier)))
        });
        told.collect()
    }

    pub(super) fn held(&self) -> Option<String> {
        let used = self.seen.tiers(SignalKind::TierUsedBytes).filter_map(|(tier, _)| {
            let told = self.seen.told_of(tier, SignalKind::TierUsedBytes, bytes)?;
            Some(format!("{} {told}", tier_name(tier)))
        });
        let keys =
            self.seen.told(SignalKind::StoreKeys, |keys| format!("{} keys", numerals::whole(keys)));
        let parts: Vec<String> = used.chain(keys).collect();
        (!parts.is_empty()).then(|| format!("Held at the end: {}", parts.join(", ")))
    }

    pub(super) fn trouble(&self) -> Option<String> {
        let refused = self.seen.tiers(SignalKind::StoreFailures);
        let refused = refused.filter(|(_, count)| *count > 0.0).map(|(tier, count)| {
            format!("{} did not take {} stores", tier_name(tier), numerals::whole(count))
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

    /// Empty with one replica.
    pub(super) fn routing(&self) -> Vec<String> {
        let get = |kind| self.seen.get(kind);
        let mut lines = Vec::new();
        if let Some(choices) = get(SignalKind::RoutingChoices).filter(|choices| *choices > 0.0) {
            let share = get(SignalKind::RoutingMaxSharePercent).map_or_else(String::new, |share| {
                format!("; the busiest replica got {share:.1} % of them")
            });
            lines.push(format!("Routing: {} choices{share}", numerals::whole(choices)));
        }
        if let (Some(routed), Some(uniform), Some(best), false) = (
            get(SignalKind::RoutedHitTokens),
            get(SignalKind::UniformHitTokens),
            get(SignalKind::BestHitTokens),
            lines.is_empty(),
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

    #[test]
    fn a_regime_does_not_contradict_the_sizes() {
        let (small, large) = (Bytes::from_gib(51), Bytes::from_gib(142));
        for regime in [Regime::FitsGpu, Regime::FitsTier, Regime::Overflows] {
            assert!(!place_words(regime, small, large).contains("larger than the GPU pool"));
            assert!(place_words(regime, large, small).contains("larger than the GPU pool"));
        }
    }
}
