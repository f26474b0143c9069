//! Figures of a cluster for metrics and counters.

use weir_engine::TransferKind;
use weir_model::{Bytes, Nanos, TierKind, Tokens};

/// A routing decision and the hits. With one replica the hits are zero.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Placement {
    pub replica: u16,
    /// Prompt tokens that the chosen replica held at the decision, on its GPU or in a tier whose KV
    /// events it publishes.
    pub routed_hit: u32,
    /// Mean over all replicas: the expectation of a uniform choice.
    pub uniform_hit: f32,
    /// Of the replica with the longest hit.
    pub best_hit: u32,
}

/// Ended transfers of one replica, tier and direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkTotals {
    pub tier: TierKind,
    pub kind: TransferKind,
    pub transfers: u64,
    /// Over all ranks.
    pub bytes: Bytes,
    /// Sum from request to end, queueing included.
    pub time: Nanos,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlight {
    pub tag: u64,
    pub replica: u16,
    pub generated: u32,
    /// Prompt tokens per tier, indexed by [`TierKind::index`]; zero before it ran.
    pub cached: [Tokens; 4],
}
