//! Block hashes: how each program of the field names a run of tokens and all that came before it.
//!
//! Owns the recipes of vLLM, `LMCache` and llm-d, bit for bit, because a live edge must compute the
//! very names that those programs put on the wire and into their stores. Simulation never needs
//! them: it compares symbolic prompts. The serialisations under the digests (`cbor`, `pickle`) are
//! private and write into one buffer that a hasher reuses, so hashing a long prompt allocates
//! only the vector of results.

mod cbor;
pub mod llmd;
pub mod lmcache;
mod pickle;
pub mod vllm;

pub use llmd::{ApproximateHasher, LlmdAlgorithm, LlmdHasher};
pub use lmcache::{InProcessHasher, ServerHasher};
pub use vllm::{ExtraKey, VllmAlgorithm, VllmHasher, event_hash};

/// A chain of hashes over blocks of tokens: each block's hash covers its parent's.
pub trait BlockHasher {
    type Hash: Clone + PartialEq + std::fmt::Debug;

    /// The parent of the first block.
    fn root(&self) -> Self::Hash;

    /// The hash of one block of text without extra keys.
    fn hash_block(&mut self, parent: &Self::Hash, tokens: &[u32]) -> Self::Hash;

    /// The hashes of the full blocks of a prompt, in order. A tail shorter than `block_size` has
    /// no hash, and a `block_size` of zero gives none at all.
    fn hash_blocks(&mut self, tokens: &[u32], block_size: usize) -> Vec<Self::Hash> {
        let root = self.root();
        self.hash_blocks_after(&root, tokens, block_size)
    }

    /// The hashes of the full blocks that follow `parent`.
    fn hash_blocks_after(
        &mut self,
        parent: &Self::Hash,
        tokens: &[u32],
        block_size: usize,
    ) -> Vec<Self::Hash> {
        if block_size == 0 {
            return Vec::new();
        }
        let mut hashes: Vec<Self::Hash> = Vec::with_capacity(tokens.len() / block_size);
        for block in tokens.chunks_exact(block_size) {
            let hash = self.hash_block(hashes.last().unwrap_or(parent), block);
            hashes.push(hash);
        }
        hashes
    }
}

#[cfg(test)]
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
