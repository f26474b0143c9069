//! Transfers and lookups for a caller that does real I/O in place of the link model.

use weir_engine::{Eviction, Lookup, Transfer};
use weir_model::TierKind;

/// I/O for the caller. Requests of one replica keep their order: a chunk is dropped before another
/// takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IoRequest {
    /// Move chunks between the engine and a tier; answered with
    /// [`Cluster::transfer_done`](crate::Cluster::transfer_done).
    Transfer { replica: u16, transfer: Transfer },
    /// Ask the remote store which chunks it has; answered with
    /// [`Cluster::lookup_done`](crate::Cluster::lookup_done).
    Lookup { replica: u16, lookup: Lookup },
    /// Remove chunks that a local tier evicted. Needs no answer.
    Drop { replica: u16, tier: TierKind, eviction: Eviction },
}
