//! Block hashes: how vLLM, `LMCache` and llm-d name a run of tokens and all that came before it.
//!
//! Bit for bit, because live runs must compute the names that those programs publish and store.
//! Simulation compares symbolic prompts instead. A hasher serialises into one buffer that it
//! reuses, so hashing a long prompt allocates only the vector of results.

pub mod llm_d;
pub mod lmcache;
mod pickle;
pub mod vllm;

pub use llm_d::LlmDHasher;
pub use lmcache::ServerHasher;
pub use vllm::{VllmHasher, event_hash};

/// A chain of hashes over blocks of tokens: each block's hash covers its parent's.
pub trait BlockHasher {
    type Hash: Clone + PartialEq + std::fmt::Debug;

    fn root(&self) -> Self::Hash;

    fn hash_block(&mut self, parent: &Self::Hash, tokens: &[u32]) -> Self::Hash;

    /// A tail shorter than `block_size` has no hash, and a `block_size` of zero gives none at all.
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
