//! The block keys of llm-d's index (`llm-d-kv-cache` 0.9.0, `kvblock/token_processor.go`).
//!
//! A key is FNV-1a of 64 bits over the canonical CBOR of `[parent, tokens, extra]`. Bytes go into
//! the hash as they are made, so a key costs no allocation.

use super::BlockHasher;

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

const UNSIGNED: u8 = 0;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const NULL: u8 = 0xf6;

#[derive(Debug, Clone, Copy)]
pub struct LlmDHasher {
    root: u64,
}

impl LlmDHasher {
    /// `seed` is llm-d's `hashSeed`, empty by default. `model` is the name in the engine's topic
    /// and in requests.
    pub fn new(seed: &str, model: &str) -> Self {
        let mut hash = Fnv(OFFSET);
        hash.bytes(seed.as_bytes());
        let mut root = Fnv(OFFSET);
        root.head(ARRAY, 3);
        root.head(UNSIGNED, hash.0);
        root.byte(NULL);
        root.text(model);
        Self { root: root.0 }
    }

    /// `extra` taints the block: hashes of images, or a cache salt. Without any it is
    /// [`BlockHasher::hash_block`].
    pub fn hash_tainted_block(self, parent: u64, tokens: &[u32], extra: &[String]) -> u64 {
        let mut hash = Fnv(OFFSET);
        hash.head(ARRAY, 3);
        hash.head(UNSIGNED, parent);
        hash.head(ARRAY, tokens.len() as u64);
        for token in tokens {
            hash.head(UNSIGNED, u64::from(*token));
        }
        if extra.is_empty() {
            hash.byte(NULL);
        } else {
            hash.head(ARRAY, extra.len() as u64);
            for text in extra {
                hash.head(MAP, 1);
                hash.text("Hash");
                hash.text(text);
            }
        }
        hash.0
    }
}

impl BlockHasher for LlmDHasher {
    type Hash = u64;

    fn root(&self) -> u64 {
        self.root
    }

    fn hash_block(&mut self, parent: &u64, tokens: &[u32]) -> u64 {
        self.hash_tainted_block(*parent, tokens, &[])
    }
}

struct Fnv(u64);

impl Fnv {
    const fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ byte as u64).wrapping_mul(PRIME);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.byte(*byte);
        }
    }

    /// Major type and argument in their shortest form.
    fn head(&mut self, major: u8, argument: u64) {
        let major = major << 5;
        if argument < 24 {
            self.byte(major | argument as u8);
        } else if let Ok(argument) = u8::try_from(argument) {
            self.byte(major | 0x18);
            self.byte(argument);
        } else if let Ok(argument) = u16::try_from(argument) {
            self.byte(major | 0x19);
            self.bytes(&argument.to_be_bytes());
        } else if let Ok(argument) = u32::try_from(argument) {
            self.byte(major | 0x1a);
            self.bytes(&argument.to_be_bytes());
        } else {
            self.byte(major | 0x1b);
            self.bytes(&argument.to_be_bytes());
        }
    }

    fn text(&mut self, text: &str) {
        self.head(TEXT, text.len() as u64);
        self.bytes(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// Of one prompt; `extra` stands in its first block.
    #[derive(Debug, Deserialize)]
    struct Case {
        seed: String,
        model: String,
        block: usize,
        tokens: Vec<u32>,
        extra: Option<Vec<String>>,
        keys: Vec<u64>,
    }

    /// What the Go package makes (`bench/index keys`).
    #[test]
    fn keys_are_those_of_llm_d() {
        let file = include_str!("../../tests/fixtures/llm-d-kv-cache-0.9.0/keys.json");
        let cases: Vec<Case> = serde_json::from_str(file).unwrap();
        assert_eq!(cases.len(), 7);
        for case in cases {
            let mut hasher = LlmDHasher::new(&case.seed, &case.model);
            let (first, rest) = case.tokens.split_at(case.block);
            let extra = case.extra.unwrap_or_default();
            let mut keys = vec![hasher.hash_tainted_block(hasher.root(), first, &extra)];
            let parent = keys[0];
            keys.extend(hasher.hash_blocks_after(&parent, rest, case.block));
            assert_eq!(keys, case.keys, "{} {extra:?}", case.model);
        }
    }
}
