//! Signals that only the load generator knows: what was asked before.
//!
//! *Seen* tokens are the leading tokens of a prompt that some earlier request of the cell had,
//! which the workload knows exactly. *Eligible* is what of them an offload mechanism could have
//! served: whole blocks, at least one token left to compute, minus what the GPU served.
//!
//! The simulator knows more (`weir-sim`, `tally.rs` and `reach.rs`), so a live figure is an upper
//! bound of the simulator's. With a mechanism, the simulator leaves out what was not stored yet
//! because its first request was still in flight, what only another replica holds, and generated
//! tokens where the mechanism stores prompts alone, and counts in the mechanism's chunks. It takes
//! the GPU's share off request by request; here it is taken off the sum, because engines expose
//! only the sum. Where the GPU serves what the workload does not know as seen (a chat template,
//! requests before the cell), that makes the figure smaller, by no more than those tokens.

use weir_model::{Nanos, RequestRow, SignalKind, Signals};

const SOURCE: &str = "load generator";

/// Sums over the requests whose first token came in a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// Requests.
    pub requests: u64,
    /// Their prompt tokens.
    pub prompt_tokens: u64,
    /// Leading prompt tokens that earlier requests had.
    pub seen_tokens: u64,
    /// Of those, the tokens that a cache could serve: whole blocks, one token left to compute.
    pub servable_tokens: u64,
    /// Prompt tokens that the server said were cached, by any tier.
    pub cached_tokens: u64,
}

impl Asked {
    /// Adds a request, if its first token came in the window (from its start, before its end).
    /// `block_tokens` is the engine's block size.
    pub fn add(&mut self, row: &RequestRow, window: (Nanos, Nanos), block_tokens: u32) {
        let inside = |first: Nanos| window.0 <= first && first < window.1;
        if !row.first_token.is_some_and(inside) {
            return;
        }
        let block = block_tokens.max(1);
        let prompt = row.prompt_tokens.0;
        let most = row.seen_tokens.0.min(prompt.saturating_sub(1));
        self.requests += 1;
        self.prompt_tokens += u64::from(prompt);
        self.seen_tokens += u64::from(row.seen_tokens.0);
        self.servable_tokens += u64::from(most / block * block);
        self.cached_tokens +=
            row.cached_tokens.iter().map(|tokens| u64::from(tokens.0)).sum::<u64>();
    }
}

/// Adds what the load generator knows. Call it after the engines' signals: eligible tokens need the
/// GPU's hits, and without them there is no such signal. Where the engines expose neither their own
/// hits nor any external ones, what the responses said was cached is taken for the GPU's, if the
/// caller says that no other tier exists (`gpu_only`).
pub fn add_client(asked: &Asked, gpu_only: bool, signals: &mut Signals) {
    signals.add(SignalKind::PromptTokens, asked.prompt_tokens as f64, SOURCE);
    signals.add(SignalKind::SeenTokens, asked.seen_tokens as f64, SOURCE);
    if gpu_only && signals.get(SignalKind::GpuHitTokens).is_none() {
        let source = "load generator (cached_tokens of the responses)";
        signals.add(SignalKind::GpuHitTokens, asked.cached_tokens as f64, source);
    }
    if let Some(gpu) = signals.get(SignalKind::GpuHitTokens) {
        if !gpu_only && asked.cached_tokens > 0 {
            // Engines count all that was cached in their answers; the GPU's part is its own.
            let external = (asked.cached_tokens as f64 - gpu).max(0.0);
            let source = "load generator (cached_tokens of the responses, less the GPU's hits)";
            signals.add(SignalKind::ExternalHitTokens, external, source);
        }
        let eligible = (asked.servable_tokens as f64 - gpu).max(0.0);
        signals.add(SignalKind::EligibleTokens, eligible, SOURCE);
    }
}
