//! Signals from the load generator: earlier prompts.
//!
//! *Seen* tokens are the leading tokens of a prompt that an earlier request of the cell had.
//! *Eligible* are those of them that an offload mechanism could serve: whole blocks, at least one
//! token left to compute, minus the GPU's hits.
//!
//! A live figure is an upper bound of the simulator's (`weir-sim`, `counters.rs` and
//! `unlimited.rs`). The simulator leaves out prompts in flight and not yet stored, other replicas'
//! blocks, and generated tokens where only prompts are stored, and counts in the mechanism's
//! chunks. It subtracts the GPU's hits per request; here they are subtracted from the sum, which
//! is all that engines expose. GPU hits unknown to the workload (a chat template, requests before
//! the cell) lower the figure, at most by their tokens.
//!
//! Engines count at lookups, without naming requests. So their counters are compared with requests
//! whose first token came in the window, the event nearest to a lookup. The answers' own counts
//! are of the measured set, as all figures.

use weir_model::{RequestRow, SignalKind, SignalSource, Signals, Window};

const SOURCE: &str = "load generator";
const CACHED: &str = "cached_tokens of the responses";

/// Two sums, since the edges of their windows differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AskedLoad {
    /// Requests that were due in the window, and got a token.
    pub measured: PromptTotals,
    /// Requests whose first token came in the window, for engines' counters.
    pub looked_up: PromptTotals,
}

impl AskedLoad {
    /// `block_tokens` is the engine's block size.
    pub fn add(&mut self, row: &RequestRow, window: Window, block_tokens: u32) {
        let Some(first) = row.first_token else { return };
        if window.measures(row.due) {
            self.measured.add(row, block_tokens);
        }
        if window.contains(first) {
            self.looked_up.add(row, block_tokens);
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PromptTotals {
    pub requests: u64,
    pub prompt_tokens: u64,
    /// Leading prompt tokens of earlier requests.
    pub seen_tokens: u64,
    /// The part that a cache could serve: whole blocks, one token left to compute.
    pub servable_tokens: u64,
    /// Cached prompt tokens by the answers, of any tier.
    pub cached_tokens: u64,
    /// The part that no earlier request had, per request: misses of one do not offset hits of
    /// another.
    pub unseen_tokens: u64,
}

impl PromptTotals {
    fn add(&mut self, row: &RequestRow, block_tokens: u32) {
        let block = block_tokens.max(1);
        let prompt = row.prompt_tokens.0;
        let most = row.seen_tokens.0.min(prompt.saturating_sub(1));
        self.requests += 1;
        self.prompt_tokens += u64::from(prompt);
        self.seen_tokens += u64::from(row.seen_tokens.0);
        self.servable_tokens += u64::from(most / block * block);
        let cached: u64 = row.cached_tokens.iter().map(|tokens| u64::from(tokens.0)).sum();
        self.cached_tokens += cached;
        self.unseen_tokens += cached.saturating_sub(row.seen_tokens.0.into());
    }
}

/// Call it after the engines' signals: eligible tokens need the GPU's hits. Without engines'
/// counters, the answers' cached tokens count as the GPU's only with `gpu_only`: no other tier
/// exists.
pub fn add_client(load: &AskedLoad, gpu_only: bool, signals: &mut Signals) {
    let has_counters = signals.get(SignalKind::GpuHitTokens).is_some();
    let asked = if has_counters { &load.looked_up } else { &load.measured };
    signals.add(SignalKind::PromptTokens, asked.prompt_tokens as f64, SOURCE);
    signals.add(SignalKind::SeenTokens, asked.seen_tokens as f64, SOURCE);
    // Servers that report no caches answer 0 or nothing.
    if asked.cached_tokens > 0 {
        let source = SignalSource::of(SOURCE).metric(CACHED);
        signals.add(SignalKind::CachedTokens, asked.cached_tokens as f64, source);
    }
    if gpu_only && !has_counters {
        let source = SignalSource::of(SOURCE).metric(CACHED);
        signals.add(SignalKind::GpuHitTokens, asked.cached_tokens as f64, source);
    }
    if let Some(gpu) = signals.get(SignalKind::GpuHitTokens) {
        if !gpu_only && asked.cached_tokens > 0 {
            // Answers count all tiers; the GPU's part has its own counter.
            let external = (asked.cached_tokens as f64 - gpu).max(0.0);
            let source = SignalSource::of(SOURCE).metric(format!("{CACHED}, less the GPU's hits"));
            signals.add(SignalKind::ExternalHitTokens, external, source);
        }
        let eligible = (asked.servable_tokens as f64 - gpu).max(0.0);
        signals.add(SignalKind::EligibleTokens, eligible, SOURCE);
    }
}
