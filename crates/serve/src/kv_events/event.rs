//! vLLM's KV events as sent.

/// The full hash; the encoding may send a part of it.
pub type BlockHash = [u8; 32];

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Stored(BlockStored),
    Removed(BlockRemoved),
    Cleared,
}

/// Who makes an event, which decides what it says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventSource {
    /// The engine's pool of blocks.
    Pool,
    /// vLLM's offloading with `self_describing_kv_events`.
    Offloading,
    /// vLLM's offloading by default: neither tokens nor a parent.
    PlainOffloading,
}

impl EventSource {
    /// What else the hashes cover is said by the pool alone.
    pub(super) const fn says_extra_keys(self) -> bool {
        matches!(self, Self::Pool)
    }

    pub(super) const fn says_layers(self) -> bool {
        matches!(self, Self::Pool | Self::Offloading)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockRemoved {
    pub source: EventSource,
    pub medium: &'static str,
    pub hashes: Vec<BlockHash>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockStored {
    pub source: EventSource,
    pub medium: &'static str,
    /// In token order.
    pub hashes: Vec<BlockHash>,
    pub parent: Option<BlockHash>,
    pub token_ids: Vec<u32>,
    pub block_tokens: u32,
    /// Only if the event is the pool's and begins at the first block.
    pub salt: Option<String>,
}
