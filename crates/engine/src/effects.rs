//! Output of the engine: effects, transfers, lookups, counters.

use weir_model::{Bytes, Nanos, Prompt, TierKind, Tokens};

/// The id of a sequence in the engine, reused after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// The id of a transfer, reused after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferKind {
    /// From the GPU to the tier.
    Store,
    /// From the tier to the GPU.
    Load,
}

/// Chunks to move. The caller starts it at once and reports its end with `transfer_done`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    pub id: TransferId,
    pub kind: TransferKind,
    pub tier: TierKind,
    /// Pieces whose chunks `from_chunk..to_chunk` move.
    pub tokens: Prompt,
    pub from_chunk: u32,
    pub to_chunk: u32,
    /// Bytes over all ranks.
    pub bytes: Bytes,
    /// Contiguous copies between GPU and host.
    pub copies: u64,
    /// The next pass cannot start before the transfer is done.
    pub holds_pass: bool,
    /// Time by which it lengthens the next pass.
    pub issue_cost: Nanos,
}

/// A lookup in the remote store; the caller reports its result with `lookup_done`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    pub slot: Slot,
    /// The sequence whose chunks are looked up.
    pub tokens: Prompt,
    pub from_chunk: u32,
    pub to_chunk: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferOutcome {
    Ok,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// Free from now on.
    pub slot: Slot,
    pub request: u64,
    /// Prompt tokens served per tier, indexed by [`TierKind::index`].
    pub cached: [Tokens; 4],
    pub preemptions: u16,
    /// The pass that gave its first token.
    pub first_step: u64,
    pub output_tokens: Tokens,
}

/// Results of a pass. The caller passes the same value each time, so that its buffers are reused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// Number of the pass, from 1.
    pub pass: u64,
    /// Sequences that got one more token, `first_tokens` not counted. (A preempted sequence gets
    /// one at the end of its recomputation.)
    pub decoding: u32,
    /// Tokens computed, prompt and decode.
    pub tokens: u32,
    pub first_tokens: Vec<Slot>,
    pub finished: Vec<Finished>,
}

/// Counters since the engine was made. Tokens unless the name says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Prompt tokens of requests admitted for the first time.
    pub prompt_tokens: u64,
    /// Of these, served by the GPU's cache.
    pub gpu_hit_tokens: u64,
    /// Looked up in the offload mechanism.
    pub external_query_tokens: u64,
    /// Served by tiers, indexed by [`TierKind::index`].
    pub tier_hit_tokens: [u64; 4],
    /// Found in tiers by LMCache's server, which looks from the first token on, also for what the
    /// GPU has: leading chunks of host memory, and all behind them as of the farther tier.
    pub lookup_hit_tokens: [u64; 4],
    /// Bytes stored, GPU to the first tier that takes them.
    pub stored_bytes: u64,
    pub loaded_bytes: u64,
    /// Chunks that a full tier refused.
    pub refused_chunks: u64,
    pub preemptions: u64,
    pub passes: u64,
}
