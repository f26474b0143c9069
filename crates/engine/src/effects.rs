//! Output of the engine: effects, transfers, lookups, counters.

use weir_model::{Bytes, Nanos, Prompt, TierKind, Tokens};

/// Id of a sequence in the engine, reused after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// Reused after the transfer's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferKind {
    /// GPU to tier.
    Store,
    /// Tier to GPU.
    Load,
}

/// The caller starts it at once and reports its end with `transfer_done`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    pub id: TransferId,
    pub kind: TransferKind,
    pub tier: TierKind,
    /// Contains chunks `from_chunk..to_chunk`.
    pub tokens: Prompt,
    pub from_chunk: u32,
    pub to_chunk: u32,
    /// Over all ranks.
    pub bytes: Bytes,
    /// Contiguous copies between GPU and host.
    pub copies: u64,
    /// The next pass waits for it.
    pub holds_pass: bool,
    /// Added to the next pass.
    pub issue_cost: Nanos,
}

/// In the remote store; the caller reports the result with `lookup_done`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    pub slot: Slot,
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
    /// Free again.
    pub slot: Slot,
    pub request: u64,
    /// Prompt tokens per tier, indexed by [`TierKind::index`].
    pub cached: [Tokens; 4],
    pub preemptions: u16,
    /// Pass of its first token.
    pub first_step: u64,
    pub output_tokens: Tokens,
}

/// Results of a pass. The caller reuses one value for its buffers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// From 1.
    pub pass: u64,
    /// Sequences with one more token, without `first_tokens`. A preempted sequence gets one at the
    /// end of its recomputation.
    pub decoding: u32,
    /// Prompt and decode.
    pub tokens: u32,
    pub first_tokens: Vec<Slot>,
    pub finished: Vec<Finished>,
}

/// Since the engine's start, in tokens unless the name says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// At the first admission only.
    pub prompt_tokens: u64,
    pub gpu_hit_tokens: u64,
    pub external_query_tokens: u64,
    /// Served by tiers, indexed by [`TierKind::index`].
    pub tier_hit_tokens: [u64; 4],
    /// Found by LMCache's server from the first token on, also where the GPU has them. Leading
    /// chunks of host memory count there, all later ones at the farther tier.
    pub lookup_hit_tokens: [u64; 4],
    /// GPU to the first tier that takes them.
    pub stored_bytes: u64,
    pub loaded_bytes: u64,
    /// Refused by a full tier.
    pub refused_chunks: u64,
    pub preemptions: u64,
    pub passes: u64,
}
