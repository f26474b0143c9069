//! vLLM's block hashes under `sha256`, its default for `--prefix-caching-hash-algo`.
//!
//! `H(i) = SHA-256(pickle((H(i-1), tuple(tokens), extra keys or None)))`, where the parent of the
//! first block is the digest of the pickled seed string (vLLM 0.32, `v1/core/kv_cache_utils.py`).

use sha2::{Digest, Sha256};

use super::BlockHasher;
use super::pickle::Pickler;

/// The seed string of vLLM where `PYTHONHASHSEED` is not set.
pub const DEFAULT_SEED: &str = "vllm-none-hash";
const SALT_TAG: &str = "cache_salt";

/// The hash that KV events carry: the last eight bytes, big endian.
pub fn event_hash(digest: &[u8; 32]) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = *digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[derive(Debug, Clone)]
pub struct VllmHasher {
    none_hash: [u8; 32],
    buffer: Vec<u8>,
}

impl VllmHasher {
    /// `seed` is [`DEFAULT_SEED`] or the value of `PYTHONHASHSEED`.
    pub fn new(seed: &str) -> Self {
        let mut buffer = Vec::new();
        let mut pickler = Pickler::new(&mut buffer);
        pickler.text(seed);
        pickler.finish();
        let none_hash = Sha256::digest(&buffer).into();
        Self { none_hash, buffer }
    }

    /// vLLM salts only the first block.
    pub fn hash_salted_block(&mut self, parent: &[u8; 32], tokens: &[u32], salt: &str) -> [u8; 32] {
        self.hash(parent, tokens, Some(salt))
    }

    fn hash(&mut self, parent: &[u8; 32], tokens: &[u32], salt: Option<&str>) -> [u8; 32] {
        let mut pickler = Pickler::new(&mut self.buffer);
        pickler.begin_tuple(3);
        pickler.bytes(parent);
        pickler.tokens(tokens);
        match salt {
            Some(salt) => {
                pickler.begin_tuple(1);
                pickler.begin_tuple(2);
                pickler.text(SALT_TAG);
                pickler.text(salt);
                pickler.end_tuple(2);
                pickler.end_tuple(1);
            }
            None => pickler.none(),
        }
        pickler.end_tuple(3);
        pickler.finish();
        Sha256::digest(&self.buffer).into()
    }
}

impl BlockHasher for VllmHasher {
    type Hash = [u8; 32];

    fn root(&self) -> [u8; 32] {
        self.none_hash
    }

    fn hash_block(&mut self, parent: &[u8; 32], tokens: &[u32]) -> [u8; 32] {
        self.hash(parent, tokens, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::hex;

    fn chain(seed: &str, tokens: &[u32], size: usize) -> Vec<[u8; 32]> {
        let mut hasher = VllmHasher::new(seed);
        let root = hasher.root();
        hasher.hash_blocks_after(&root, tokens, size)
    }

    fn last(tokens: &[u32], size: usize) -> String {
        hex(chain("0", tokens, size).last().unwrap())
    }

    /// The hashes that a live engine published, and those that `CPython` computes.
    #[test]
    fn engine_vectors() {
        let tokens: Vec<u32> = (10..74).collect();
        let cases = [
            (
                "0",
                "1973e23848344dc43a988a9b478663803cfffe1243480253f9a3cf004b14aa7c",
                [
                    "be1acd5e0d7f9ab4fb30aeb28bd8822bc5596e1bf84d091773535d66e7687837",
                    "a9bbf3494f9b222fece9ade9f437c44f6875c786d1fe1be56c732198c5533a74",
                ],
                [8310088433979127863, 7814626718447254132],
            ),
            (
                DEFAULT_SEED,
                "066b1e8987e027138e98701c46128929378935f9b6cd1549105ae6b4f0d71198",
                [
                    "f81b320956681841f421b4e60eb51946fd76c2cc36231fbe4527907fc7d50a27",
                    "1229edb1087cffba76978d3871f3aca325490f68b0b120b77a92d89d1d56aa89",
                ],
                [4983110391196617255, 8832359988540648073],
            ),
        ];
        for (seed, none, blocks, events) in cases {
            let hashes = chain(seed, &tokens, 32);
            assert_eq!(hex(&VllmHasher::new(seed).root()), none);
            assert_eq!(hashes.iter().map(|hash| hex(hash)).collect::<Vec<_>>(), blocks);
            assert_eq!(hashes.iter().map(event_hash).collect::<Vec<_>>(), events);
        }
    }

    /// Token ids of every integer width, in tuples of every form. From `CPython` 3.11.
    #[test]
    fn widths_and_tuple_forms() {
        let wide = [
            0,
            1,
            23,
            24,
            255,
            256,
            65_535,
            65_536,
            151_935,
            2_147_483_647,
            2_147_483_648,
            u32::MAX,
        ];
        let cases = [
            (12, "1d5be79f093ba137c02070644d171d142d786ca16b73702ddce097d6dfbdc41d"),
            (3, "6edfa13e2338c1be92bf0bccc639fdc0b4c986026f39185b1cd162664c00f578"),
            (2, "71e3fb30a1e5d29125b0a8cceb59ab355b2d1028015db242f06d0126c8445143"),
            (1, "4a8072de72a660ebf4a130f6126bd4285f20130309744b7f7d3c767352338903"),
        ];
        for (size, pickle) in cases {
            assert_eq!(last(&wide, size), pickle, "size {size}");
        }
    }

    /// More than 255 tokens, and more than one 64 KiB frame.
    #[test]
    fn long_blocks() {
        let long: Vec<u32> = (0..400).map(|index| index * 7919 % 152_064).collect();
        let huge: Vec<u32> = (0..30_000).map(|index| 100_000 + index).collect();
        assert_eq!(
            last(&long, 400),
            "27ebfd45d6426d7251c9bd95f2641f95fcf61300a07cc486067d481e44fa6006"
        );
        assert_eq!(
            last(&huge, 30_000),
            "30d70e74268f7c042886f54941729f5d2ce2142e09753aa675be90988609260f"
        );
    }

    #[test]
    fn a_long_salt_is_part_of_the_hash() {
        let tokens: Vec<u32> = (0..16).collect();
        let mut hasher = VllmHasher::new("0");
        let hash = hasher.hash_salted_block(&hasher.root(), &tokens, &"x".repeat(300));
        assert_eq!(hex(&hash), "4fcdfb3218df1f2684e90be147fb4bb22ad777139629b720c5bbc5476b52a3c6");
    }

    #[test]
    fn only_full_blocks_have_hashes_and_chains_continue() {
        let tokens: Vec<u32> = (0..50).collect();
        let mut hasher = VllmHasher::new("0");
        let root = hasher.root();
        let hashes = hasher.hash_blocks_after(&root, &tokens, 16);
        assert_eq!(hashes.len(), 3);
        assert_eq!(hasher.hash_blocks_after(&hashes[0], &tokens[16..], 16), hashes[1..]);
        assert!(hasher.hash_blocks_after(&root, &tokens, 0).is_empty());
    }
}
