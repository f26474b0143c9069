//! Block hashes: how each program of the field names a run of tokens and all that came before it.
//!
//! Owns the recipes of vLLM and `LMCache`, bit for bit, because a live edge must compute the very
//! names that those programs put on the wire and into their stores. Simulation never needs them: it
//! compares symbolic prompts. A hasher serialises into one buffer that it reuses, so hashing a long
//! prompt allocates only the vector of results.

pub mod lmcache;
mod pickle;
pub mod vllm;

pub use lmcache::ServerHasher;
pub use vllm::{VllmHasher, event_hash};

/// A chain of hashes over blocks of tokens: each block's hash covers its parent's.
pub trait BlockHasher {
    type Hash: Clone + PartialEq + std::fmt::Debug;

    /// The parent of the first block.
    fn root(&self) -> Self::Hash;

    /// The hash of one block of text without extra keys.
    fn hash_block(&mut self, parent: &Self::Hash, tokens: &[u32]) -> Self::Hash;

    /// The hashes of the full blocks that follow `parent`, in order. A tail shorter than
    /// `block_size` has no hash, and a `block_size` of zero gives none at all.
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
