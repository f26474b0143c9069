//! llm-d's request keys: the names that its endpoint picker gives to blocks of a prompt.
//!
//! They are independent of the engines' hashes: the picker recomputes them from the token ids in
//! the events and keeps a map between the two. Recipes of `pkg/kvcache/kvblock/token_processor.go`
//! and of the approximate prefix producer (llm-d-router after v0.10.0).

use xxhash_rust::xxh64::xxh64;

use super::{BlockHasher, cbor};

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// A value of `hashAlgorithm` in `tokenProcessorConfig`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LlmdAlgorithm {
    /// FNV-1a (64 bit) over canonical CBOR of `[parent, tokens, extra]`: the default.
    CborFnv,
    /// XXH64 over the parent (8 bytes), the tokens (4 bytes each) and each extra string with its
    /// length (8 bytes) before it, all little endian.
    Xxh64,
}

/// Hashes blocks as llm-d's precise index does.
#[derive(Debug, Clone)]
pub struct LlmdHasher {
    algorithm: LlmdAlgorithm,
    root: u64,
    buffer: Vec<u8>,
}

impl LlmdHasher {
    /// A hasher for one model. `seed` is `hashSeed` (empty by default); the name of a `LoRA`
    /// adapter replaces the name of its model.
    pub fn new(algorithm: LlmdAlgorithm, seed: &str, model: &str) -> Self {
        let mut hasher = Self { algorithm, root: 0, buffer: Vec::new() };
        hasher.root = match algorithm {
            LlmdAlgorithm::CborFnv => {
                cbor::array(&mut hasher.buffer, 3);
                cbor::unsigned(&mut hasher.buffer, fnv1a(seed.as_bytes()));
                cbor::null(&mut hasher.buffer);
                cbor::text(&mut hasher.buffer, model);
                fnv1a(&hasher.buffer)
            }
            LlmdAlgorithm::Xxh64 => hasher.xxh64_block(xxh64(seed.as_bytes(), 0), &[], &[model]),
        };
        hasher
    }

    /// The hash of a block that multi-modal items overlap; `items` are their content hashes, and
    /// without any it equals [`BlockHasher::hash_block`].
    pub fn hash_block_with(&mut self, parent: u64, tokens: &[u32], items: &[&str]) -> u64 {
        match self.algorithm {
            LlmdAlgorithm::CborFnv => self.cbor_fnv_block(parent, tokens, items),
            LlmdAlgorithm::Xxh64 => self.xxh64_block(parent, tokens, items),
        }
    }

    fn cbor_fnv_block(&mut self, parent: u64, tokens: &[u32], items: &[&str]) -> u64 {
        let out = &mut self.buffer;
        out.clear();
        cbor::array(out, 3);
        cbor::unsigned(out, parent);
        cbor::tokens(out, tokens);
        if items.is_empty() {
            cbor::null(out);
        } else {
            // Each item is a Go struct of one field, hence a map with the field's name.
            cbor::array(out, items.len());
            for item in items {
                cbor::map(out, 1);
                cbor::text(out, "Hash");
                cbor::text(out, item);
            }
        }
        fnv1a(out)
    }

    fn xxh64_block(&mut self, parent: u64, tokens: &[u32], items: &[&str]) -> u64 {
        let out = &mut self.buffer;
        out.clear();
        out.extend_from_slice(&parent.to_le_bytes());
        extend_with_tokens(out, tokens);
        for item in items {
            out.extend_from_slice(&(item.len() as u64).to_le_bytes());
            out.extend_from_slice(item.as_bytes());
        }
        xxh64(out, 0)
    }
}

impl BlockHasher for LlmdHasher {
    type Hash = u64;

    fn root(&self) -> u64 {
        self.root
    }

    fn hash_block(&mut self, parent: &u64, tokens: &[u32]) -> u64 {
        self.hash_block_with(*parent, tokens, &[])
    }
}

/// Hashes blocks as llm-d's approximate prefix producer does:
/// `XXH64(XXH64(tokens as u32) || previous)`, little endian, from `XXH64(model || salt)` on.
#[derive(Debug, Clone)]
pub struct ApproximateHasher {
    root: u64,
    buffer: Vec<u8>,
}

impl ApproximateHasher {
    /// A hasher for one model and cache salt (empty where a request has none).
    pub fn new(model: &str, salt: &str) -> Self {
        let mut buffer = Vec::with_capacity(model.len() + salt.len());
        buffer.extend_from_slice(model.as_bytes());
        buffer.extend_from_slice(salt.as_bytes());
        Self { root: xxh64(&buffer, 0), buffer }
    }
}

impl BlockHasher for ApproximateHasher {
    type Hash = u64;

    fn root(&self) -> u64 {
        self.root
    }

    fn hash_block(&mut self, parent: &u64, tokens: &[u32]) -> u64 {
        self.buffer.clear();
        extend_with_tokens(&mut self.buffer, tokens);
        let mut pair = [0; 16];
        pair[..8].copy_from_slice(&xxh64(&self.buffer, 0).to_le_bytes());
        pair[8..].copy_from_slice(&parent.to_le_bytes());
        xxh64(&pair, 0)
    }
}

fn extend_with_tokens(out: &mut Vec<u8>, tokens: &[u32]) {
    for token in tokens {
        out.extend_from_slice(&token.to_le_bytes());
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Vec<u32> {
        (10..74).collect()
    }

    #[test]
    fn cbor_fnv_vectors() {
        assert_eq!(fnv1a(b""), 14695981039346656037);
        let mut hasher = LlmdHasher::new(LlmdAlgorithm::CborFnv, "", "tiny");
        assert_eq!(hasher.root(), 5274049835757211516);
        assert_eq!(hasher.hash_blocks(&tokens(), 32), [16212826127818159605, 3727488181074577591]);
    }

    /// From Python: FNV-1a over `cbor2.dumps([parent, tokens, [{"Hash": "img"}]])`.
    #[test]
    fn cbor_fnv_with_seed_wide_tokens_and_items() {
        let mut hasher = LlmdHasher::new(LlmdAlgorithm::CborFnv, "42", "org/model");
        assert_eq!(hasher.root(), 16747418779896092824);
        let hash = hasher.hash_block_with(hasher.root(), &[1, 300, 70_000, u32::MAX], &["img"]);
        assert_eq!(hash, 3338337240343186513);
    }

    /// From Python's xxhash over bytes laid out by hand.
    #[test]
    fn xxh64_vectors() {
        let mut hasher = LlmdHasher::new(LlmdAlgorithm::Xxh64, "", "tiny");
        assert_eq!(hasher.root(), 9844600032641565939);
        let hashes = hasher.hash_blocks(&tokens(), 32);
        assert_eq!(hashes, [3124667287142373355, 16823032905060650619]);
        assert_eq!(
            hasher.hash_block_with(hashes[1], &[1, 2], &["img-a", "b"]),
            14949001621778719329
        );
    }

    #[test]
    fn approximate_vectors() {
        let hashes = ApproximateHasher::new("tiny", "salt").hash_blocks(&tokens(), 32);
        assert_eq!(hashes, [18427995244699704118, 2762031647395001173]);
    }
}
