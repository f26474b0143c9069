use crate::prompt::{ContentId, Prompt};
use crate::tier_kind::TierKind;
use crate::units::{Nanos, Tokens};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Unique in the cell, in order of issue.
    pub id: u64,
    pub session: u64,
    /// Its place in the session, from 0.
    pub turn: u32,
    pub prompt: Prompt,
    /// Requested length (EOS is ignored, as load generators do).
    pub output_tokens: Tokens,
    /// Content of the answer; a later turn of the session quotes it.
    pub output: ContentId,
    /// Leading prompt tokens requested or generated before in this cell: the hits of an unlimited
    /// cache.
    pub seen_tokens: Tokens,
}

crate::words! {
    /// How a request ended.
    pub enum Outcome {
        Done = "done",
        Unfinished = "unfinished",
        Failed = "failed",
    }
}

/// The columns of `requests.parquet`. Times count from the start of the cell.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestRow {
    pub request: u64,
    pub session: u64,
    pub turn: u32,
    /// A digest of the prompt: equal prompts have equal ids.
    pub prompt_id: u64,
    /// None where the answer does not name it (live targets).
    pub replica: Option<u16>,
    /// When it should have been sent (open loop) or could have been (closed loop).
    pub due: Nanos,
    pub start: Nanos,
    /// Live targets.
    pub connected: Option<Nanos>,
    /// First byte of the body (live targets).
    pub first_byte: Option<Nanos>,
    pub first_token: Option<Nanos>,
    /// When the last token came, or the request was given up.
    pub end: Nanos,
    pub prompt_tokens: Tokens,
    pub output_tokens: Tokens,
    /// Leading prompt tokens that an unlimited cache would hold.
    pub seen_tokens: Tokens,
    /// Prompt tokens served per tier, indexed by [`TierKind::index`].
    pub cached_tokens: [Tokens; 4],
    pub preemptions: u16,
    /// Simulated: the pass of its replica that gave the first token. Token `i` came with pass
    /// `first_step + i` unless it was preempted.
    pub first_step: u64,
    /// Live: time between the stream's output events after the first token. An event can bring
    /// several tokens. Empty in simulation, where the passes give it.
    pub chunk_gaps: Vec<Nanos>,
    /// Live: events per read, on average.
    pub events_per_read: Option<f32>,
    pub outcome: Outcome,
    pub error: Option<String>,
    /// For real output tokens.
    pub output_digest: Option<u64>,
    /// The most that the load generator can add to its times from the due time (0 in simulation).
    pub error_bound: Nanos,
    /// With several replicas, where their caches are known.
    pub hits: Option<ChoiceHits>,
    /// The process that sent it, where several generated the load.
    pub shard: Option<u16>,
}

/// Prompt tokens that several replicas held when a request was sent, on the GPU or in a tier that
/// their KV events announce: whole blocks from the first on, and at least one token left to
/// compute.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ChoiceHits {
    /// Of the chosen replica.
    pub routed: Tokens,
    /// Mean over all replicas: the expectation of a uniform choice.
    pub uniform: f32,
    /// Of the replica with the most.
    pub best: Tokens,
}

impl RequestRow {
    pub fn gpu_hit_tokens(&self) -> Tokens {
        self.cached_tokens[TierKind::Gpu.index()]
    }

    pub fn external_hit_tokens(&self) -> Tokens {
        self.cached_tokens[TierKind::Host.index()..].iter().copied().sum()
    }
}
