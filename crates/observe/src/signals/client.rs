//! Signals that only the load generator knows: what was asked before.
//!
//! *Seen* tokens are the leading tokens of a prompt that some earlier request of the cell had,
//! which the workload knows exactly. *Eligible* is what of them an offload mechanism could have
//! served: whole blocks, at least one token left to compute, minus what the GPU served.
//!
//! The simulator knows more (`weir-sim`, `counters.rs` and `unlimited.rs`), so a live figure is an
//! upper bound of the simulator's. With a mechanism, the simulator leaves out what was not stored
//! yet because its first request was still in flight, what only another replica holds, and
//! generated tokens where the mechanism stores prompts alone, and counts in the mechanism's chunks.
//! It takes the GPU's share off request by request; here it is taken off the sum, because engines
//! expose only the sum. Where the GPU serves what the workload does not know as seen (a chat
//! template, requests before the cell), that makes the figure smaller, by no more than those
//! tokens.
//!
//! Engines count at the time of their lookups, and cannot say of which requests. What is held
//! against their counters over the window is therefore what was asked by requests whose first token
//! came in it, the event nearest to a lookup that a client sees. What the answers themselves say is
//! of the measured set, as all figures are.

use weir_model::{RequestRow, SignalKind, SignalSource, Signals, Window};

const SOURCE: &str = "load generator";
/// What of the answers says how much came from a cache.
const CACHED: &str = "cached_tokens of the responses";

/// What the load generator asked, as two sums that hold each other's edges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AskedLoad {
    /// Of the measured set: requests that were due in the window, and got a token.
    pub measured: PromptTotals,
    /// Of requests whose first token came in the window, for counters of engines over it.
    pub looked_up: PromptTotals,
}

impl AskedLoad {
    /// Adds a request. `block_tokens` is the engine's block size.
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
    /// Leading prompt tokens that earlier requests had.
    pub seen_tokens: u64,
    /// Of those, the tokens that a cache could serve: whole blocks, one token left to compute.
    pub servable_tokens: u64,
    /// Prompt tokens that the server said were cached, by any tier.
    pub cached_tokens: u64,
    /// Of those, what no earlier request had, request by request: misses of one make no room for
    /// hits of another.
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

/// Adds what the load generator knows. Call it after the engines' signals: eligible tokens need the
/// GPU's hits, and without them there is no such signal. What the responses said was cached came
/// from some cache; where the engines do not expose their own hits, it is taken for the GPU's only
/// if the caller says that no other tier exists (`gpu_only`).
pub fn add_client(load: &AskedLoad, gpu_only: bool, signals: &mut Signals) {
    let has_counters = signals.get(SignalKind::GpuHitTokens).is_some();
    let asked = if has_counters { &load.looked_up } else { &load.measured };
    signals.add(SignalKind::PromptTokens, asked.prompt_tokens as f64, SOURCE);
    signals.add(SignalKind::SeenTokens, asked.seen_tokens as f64, SOURCE);
    // Servers that tell nothing of their caches answer 0 or nothing at all.
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
            // Engines count all that was cached in their answers; the GPU's part is its own.
            let external = (asked.cached_tokens as f64 - gpu).max(0.0);
            let source = SignalSource::of(SOURCE).metric(format!("{CACHED}, less the GPU's hits"));
            signals.add(SignalKind::ExternalHitTokens, external, source);
        }
        let eligible = (asked.servable_tokens as f64 - gpu).max(0.0);
        signals.add(SignalKind::EligibleTokens, eligible, SOURCE);
    }
}
