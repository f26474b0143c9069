//! vLLM's KV events as they go on the wire.

/// Where a block is, in vLLM's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// The GPU's own cache.
    Gpu,
    Cpu,
    /// A disk or a store.
    Storage,
}

impl Medium {
    /// The word on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gpu => "GPU",
            Self::Cpu => "CPU",
            Self::Storage => "STORAGE",
        }
    }
}

/// The full hash of a block; how much of it goes on the wire is the encoding's affair.
pub type BlockHash = [u8; 32];

/// One event of vLLM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Stored(BlockStored),
    Removed { hashes: Vec<BlockHash>, medium: Medium },
    Cleared,
}

/// Blocks that can be hit from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockStored {
    /// The blocks, in the order of their tokens.
    pub hashes: Vec<BlockHash>,
    /// The block before the first one.
    pub parent: Option<BlockHash>,
    /// The tokens of the blocks; empty in a placeholder.
    pub token_ids: Vec<u32>,
    /// Tokens per block; 0 in a placeholder.
    pub block_tokens: u32,
    pub medium: Medium,
    /// What sets the blocks apart from others of equal tokens.
    pub extra_keys: ExtraKeys,
    /// Whether the event says what kind of cache the blocks belong to. vLLM's placeholders for
    /// offloaded blocks do not.
    pub has_spec_kind: bool,
}

/// The field `extra_keys` of a stored event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtraKeys {
    /// The event does not say (offloaded blocks).
    Absent,
    /// One entry per block, all of them null but the first, which carries the salt of the cache
    /// where there is one and the event begins at the first block.
    PerBlock { salt: Option<String> },
}
