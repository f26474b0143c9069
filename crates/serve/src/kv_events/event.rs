//! vLLM's KV events as they go on the wire. All speak of the GPU's own cache.

/// The full hash of a block; how much of it goes on the wire is the encoding's affair.
pub type BlockHash = [u8; 32];

/// One event of vLLM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Stored(BlockStored),
    Removed(BlockHash),
    Cleared,
}

/// Blocks that can be hit from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockStored {
    /// The blocks, in the order of their tokens.
    pub hashes: Vec<BlockHash>,
    /// The block before the first one.
    pub parent: Option<BlockHash>,
    /// The tokens of the blocks.
    pub token_ids: Vec<u32>,
    /// Tokens per block.
    pub block_tokens: u32,
    /// The cache salt, where there is one and the event begins at the first block.
    pub salt: Option<String>,
}
