//! KV events: what an engine tells the world about its cache, in symbolic form.
//!
//! The live server expands these to vLLM's hashes and token ids; the simulator hands them to the
//! router as they are. A span of blocks is named by the path of pieces that leads to it.

use std::sync::Arc;

use crate::prompt::Piece;
use crate::tier_kind::TierKind;

/// What happened to a span of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvChange {
    /// The blocks can be hit in this tier from now on.
    Stored,
    /// They no longer can.
    Removed,
    /// Everything of this tier is gone; path and span are empty.
    Cleared,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvEvent {
    /// Stored, removed or cleared.
    pub change: KvChange,
    pub tier: TierKind,
    /// The pieces from the first token of the prompt to the end of the span.
    pub path: Arc<[Piece]>,
    /// First token of the span; a multiple of the unit of the tier (block or chunk).
    pub from_token: u32,
    /// End of the span (exclusive), equal to the tokens of `path`.
    pub to_token: u32,
}
