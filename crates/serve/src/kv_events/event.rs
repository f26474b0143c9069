//! vLLM's KV events as sent. All describe the GPU's own cache.

/// The full hash; the encoding may send a part of it.
pub type BlockHash = [u8; 32];

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Stored(BlockStored),
    Removed(BlockHash),
    Cleared,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockStored {
    /// In token order.
    pub hashes: Vec<BlockHash>,
    pub parent: Option<BlockHash>,
    pub token_ids: Vec<u32>,
    pub block_tokens: u32,
    /// Only if the event begins at the first block.
    pub salt: Option<String>,
}
