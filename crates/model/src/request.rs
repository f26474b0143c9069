//! A request as it is asked, and the row that is recorded of it.

use crate::prompt::{ContentId, Prompt};
use crate::tier_kind::TierKind;
use crate::units::{Nanos, Tokens};

/// One request, before it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Unique in the cell, in order of issue.
    pub id: u64,
    pub session: u64,
    /// Its place in the session, from 0.
    pub turn: u32,
    pub prompt: Prompt,
    /// Tokens to generate (EOS is ignored, as load generators do).
    pub output_tokens: Tokens,
    /// The content that the answer will have; a later turn of the session quotes it.
    pub output: ContentId,
    /// Leading prompt tokens that were asked or generated before in this cell: what a cache
    /// without limits would hold.
    pub seen_tokens: Tokens,
}

crate::words! {
    /// How a request ended.
    pub enum Outcome {
        Done = "done",
        /// The cell ended before it did.
        Unfinished = "unfinished",
        /// It failed; the row's error says how.
        Failed = "failed",
    }
}

/// The record of one request; the columns of `requests.parquet`. Times count from the start of
/// the cell.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestRow {
    /// Unique in the cell, in order of issue.
    pub request: u64,
    pub session: u64,
    /// Its place in the session, from 0.
    pub turn: u32,
    /// A digest of the prompt: equal prompts have equal ids.
    pub prompt_id: u64,
    pub replica: u16,
    /// When it should have been sent (open loop) or was allowed to be (closed loop).
    pub due: Nanos,
    pub start: Nanos,
    /// When the connection was there (live targets).
    pub connected: Option<Nanos>,
    /// When the first byte of the body came (live targets).
    pub first_byte: Option<Nanos>,
    pub first_token: Option<Nanos>,
    /// When the last token came, or the request was given up.
    pub end: Nanos,
    pub prompt_tokens: Tokens,
    pub output_tokens: Tokens,
    /// Leading prompt tokens that a cache without limits would hold.
    pub seen_tokens: Tokens,
    /// Prompt tokens served per tier, indexed by [`TierKind::index`].
    pub cached_tokens: [Tokens; 4],
    /// Times it was preempted and recomputed.
    pub preemptions: u16,
    /// Simulated: the pass of its replica that gave the first token; token `i` came with pass
    /// `first_step + i` unless it was preempted.
    pub first_step: u64,
    /// Live: time between the stream's events that brought output, the first one after the first
    /// token; empty in simulation, where the passes say it. An event can bring several tokens.
    pub chunk_gaps: Vec<Nanos>,
    /// Live: events per read, on average.
    pub events_per_read: Option<f32>,
    pub outcome: Outcome,
    /// Cause, for failed requests.
    pub error: Option<String>,
    /// Digest of the output tokens, where they are real.
    pub output_digest: Option<u64>,
    /// The most by which its times from the due time can be too long because of the load generator
    /// (0 in simulation).
    pub error_bound: Nanos,
    /// With several replicas: prompt tokens that the chosen replica's GPU held at the decision.
    pub routed_hit_tokens: Tokens,
    /// With several replicas: the same, averaged over all replicas (a uniform choice).
    pub uniform_hit_tokens: f32,
    /// With several replicas: the same, of the best replica.
    pub best_hit_tokens: Tokens,
}

impl RequestRow {
    /// Prompt tokens that the GPU's own cache served.
    pub fn gpu_hit_tokens(&self) -> Tokens {
        self.cached_tokens[TierKind::Gpu.index()]
    }

    /// Prompt tokens that any tier below the GPU served.
    pub fn external_hit_tokens(&self) -> Tokens {
        self.cached_tokens[TierKind::Host.index()..].iter().copied().sum()
    }
}
