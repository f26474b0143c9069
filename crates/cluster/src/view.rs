//! Figures of a cluster between its steps, for metrics pages and counters.

use weir_engine::TransferKind;
use weir_model::{Bytes, Nanos, TierKind, Tokens};

/// Where a request was routed, and its hits there and elsewhere. With one replica there is no
/// choice, and the hits are zero.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Placement {
    pub replica: u16,
    /// Prompt tokens that the chosen replica's GPU held at the decision.
    pub routed_hit: u32,
    /// The same, averaged over all replicas: the expectation of a uniform choice.
    pub uniform_hit: f32,
    /// The same, of the replica with the longest hit.
    pub best_hit: u32,
}

/// Ended transfers between one replica and one tier, in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkTotals {
    pub tier: TierKind,
    pub kind: TransferKind,
    pub transfers: u64,
    /// Bytes over all ranks.
    pub bytes: Bytes,
    /// Sum of the times from request to end, queueing included.
    pub time: Nanos,
}

/// A request that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlight {
    /// The caller's name for it.
    pub tag: u64,
    pub replica: u16,
    /// Tokens generated so far.
    pub generated: u32,
    /// Prompt tokens served per tier, indexed by [`TierKind::index`]; zero before it ran.
    pub cached: [Tokens; 4],
}
