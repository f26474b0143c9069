//! Transfers and lookups for a caller that does real I/O.

use weir_engine::{Eviction, Lookup, Transfer};
use weir_model::TierKind;

/// Requests of one replica keep their order: a chunk is dropped before another takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IoRequest {
    /// Ends with [`Cluster::transfer_done`](crate::Cluster::transfer_done).
    Transfer { replica: u16, transfer: Transfer },
    /// Ends with [`Cluster::lookup_done`](crate::Cluster::lookup_done).
    Lookup { replica: u16, lookup: Lookup },
    /// A local tier evicted chunks. Has no answer.
    Drop { replica: u16, tier: TierKind, eviction: Eviction },
}
