//! What a caller that moves real bytes is asked to do, in place of the links' model.

use weir_engine::{Eviction, Lookup, Transfer};
use weir_model::TierKind;

/// Something to be done outside. Errands of one replica come in the order in which they arose: a
/// chunk is dropped before another takes its room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Errand {
    /// Move chunks between the engine and a tier; answered with
    /// [`Cluster::transfer_done`](crate::Cluster::transfer_done).
    Transfer { replica: u16, transfer: Transfer },
    /// Ask the remote store which chunks it has; answered with
    /// [`Cluster::lookup_done`](crate::Cluster::lookup_done).
    Lookup { replica: u16, lookup: Lookup },
    /// Let go of chunks that a local tier evicted. Needs no answer.
    Drop { replica: u16, tier: TierKind, gone: Eviction },
}
