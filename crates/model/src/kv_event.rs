//! KV events: an engine's changes of its cache, in symbolic form.
//!
//! The live server expands them to vLLM's hashes and token ids; the simulator passes them to the
//! router as they are. The sequence that leads to a span of blocks names it.

use crate::prompt::Prompt;
use crate::tier_kind::TierKind;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvChange {
    Stored,
    Removed,
    /// Everything in this tier; path and span are empty.
    Cleared,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvEvent {
    pub change: KvChange,
    pub tier: TierKind,
    /// From the first token of the prompt to the end of the span or beyond it. Events of one
    /// sequence share it, so that making one costs no copy.
    pub path: Prompt,
    /// First token of the span; a multiple of the unit of the tier (block or chunk).
    pub from_token: u32,
    /// End of the span (exclusive), at most the tokens of `path`.
    pub to_token: u32,
}
