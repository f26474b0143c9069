//! Keys of blocks. A store is shared with llm-d, and so are its keys; in memory faster ones do.

use weir_model::block::{BlockHasher as _, LlmDHasher};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Tokens hashed at once: vLLM's block.
const STEP: usize = 16;

/// Of one model.
#[derive(Debug, Clone, Copy)]
pub(crate) enum KeyHasher {
    LlmD(LlmDHasher),
    Own { root: u64 },
}

impl KeyHasher {
    pub(crate) fn llm_d(seed: &str, model: &str) -> Self {
        Self::LlmD(LlmDHasher::new(seed, model))
    }

    pub(crate) fn own(model: &str) -> Self {
        Self::Own { root: xxh3_64_with_seed(model.as_bytes(), 0) }
    }

    pub(super) fn root(self) -> u64 {
        match self {
            Self::LlmD(hasher) => hasher.root(),
            Self::Own { root } => root,
        }
    }

    /// `extra` taints the block: hashes of images, or a cache salt.
    pub(super) fn key(self, parent: u64, tokens: &[u32], extra: &[String]) -> u64 {
        if let Self::LlmD(hasher) = self {
            return hasher.hash_tainted_block(parent, tokens, extra);
        }
        let mut bytes = [0; STEP * 4];
        let key = tokens.chunks(STEP).fold(parent, |key, tokens| {
            for (place, token) in bytes.chunks_exact_mut(4).zip(tokens) {
                place.copy_from_slice(&token.to_le_bytes());
            }
            xxh3_64_with_seed(&bytes[..tokens.len() * 4], key)
        });
        extra.iter().fold(key, |key, text| xxh3_64_with_seed(text.as_bytes(), key))
    }
}
