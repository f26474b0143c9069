//! vLLM's block hashes: `sha256` (a pickle underneath) and `sha256_cbor`.
//!
//! `H(i) = SHA-256(serialise((H(i-1), tuple(tokens), extra keys or None)))`, where the parent of
//! the first block is the digest of the serialised seed string (vLLM 0.32,
//! `v1/core/kv_cache_utils.py`). vLLM's two `xxhash` algorithms are not here: their seed is random
//! per process by default, so their hashes say nothing across programs.

use sha2::{Digest, Sha256};

use super::pickle::Pickler;
use super::{BlockHasher, cbor};

/// The seed string of vLLM where `PYTHONHASHSEED` is not set.
pub const DEFAULT_SEED: &str = "vllm-none-hash";

/// A value of `--prefix-caching-hash-algo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VllmAlgorithm {
    /// Pickle protocol 5, then SHA-256: vLLM's default.
    Sha256,
    /// Canonical CBOR, then SHA-256: the same in every language.
    Sha256Cbor,
}

/// What sets a block apart from another of equal tokens. vLLM orders them as the variants stand
/// here, and writes each as a tuple that begins with its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtraKey<'a> {
    /// A `LoRA` adapter.
    Lora { name: &'a str, path: &'a str },
    /// A multi-modal item that overlaps the block.
    Multimodal {
        identifier: &'a str,
        /// Its first token, relative to the block.
        offset: i64,
    },
    /// The salt of the request; first block only.
    CacheSalt(&'a str),
    /// The digest of prompt embeddings.
    PromptEmbeds(&'a [u8]),
}

impl ExtraKey<'_> {
    const TAGS: [&'static str; 4] = ["lora", "mm", "cache_salt", "prompt_embeds"];

    const fn tag(&self) -> usize {
        match self {
            Self::Lora { .. } => 0,
            Self::Multimodal { .. } => 1,
            Self::CacheSalt(_) => 2,
            Self::PromptEmbeds(_) => 3,
        }
    }

    const fn items(&self) -> usize {
        match self {
            Self::Lora { .. } | Self::Multimodal { .. } => 3,
            Self::CacheSalt(_) | Self::PromptEmbeds(_) => 2,
        }
    }
}

/// The hash that KV events carry: the last eight bytes, big endian.
pub fn event_hash(digest: &[u8; 32]) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = *digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Hashes blocks as one vLLM engine does.
#[derive(Debug, Clone)]
pub struct VllmHasher {
    algorithm: VllmAlgorithm,
    none_hash: [u8; 32],
    buffer: Vec<u8>,
}

impl VllmHasher {
    /// A hasher with the seed string that the engine uses ([`DEFAULT_SEED`] or the value of
    /// `PYTHONHASHSEED`).
    pub fn new(algorithm: VllmAlgorithm, seed: &str) -> Self {
        let mut buffer = Vec::new();
        match algorithm {
            VllmAlgorithm::Sha256 => {
                let mut pickler = Pickler::new(&mut buffer);
                pickler.text(seed);
                pickler.finish();
            }
            VllmAlgorithm::Sha256Cbor => cbor::text(&mut buffer, seed),
        }
        let none_hash = Sha256::digest(&buffer).into();
        Self { algorithm, none_hash, buffer }
    }

    /// The hash of a block with extra keys; without any it equals [`BlockHasher::hash_block`].
    ///
    /// A tag that stands twice (two multi-modal items) is one Python object and therefore a
    /// reference in the pickle. Other strings are taken for different objects even where they are
    /// equal, as they are when each comes from its own request field.
    pub fn hash_block_with(
        &mut self,
        parent: &[u8; 32],
        tokens: &[u32],
        extra: &[ExtraKey<'_>],
    ) -> [u8; 32] {
        match self.algorithm {
            VllmAlgorithm::Sha256 => pickle_block(&mut self.buffer, parent, tokens, extra),
            VllmAlgorithm::Sha256Cbor => cbor_block(&mut self.buffer, parent, tokens, extra),
        }
        Sha256::digest(&self.buffer).into()
    }
}

impl BlockHasher for VllmHasher {
    type Hash = [u8; 32];

    fn root(&self) -> [u8; 32] {
        self.none_hash
    }

    fn hash_block(&mut self, parent: &[u8; 32], tokens: &[u32]) -> [u8; 32] {
        self.hash_block_with(parent, tokens, &[])
    }
}

fn pickle_block(out: &mut Vec<u8>, parent: &[u8], tokens: &[u32], extra: &[ExtraKey<'_>]) {
    let mut pickler = Pickler::new(out);
    pickler.begin_tuple(3);
    pickler.bytes(parent);
    pickler.tokens(tokens);
    if extra.is_empty() {
        pickler.none();
    } else {
        let mut tags = [None; 4];
        pickler.begin_tuple(extra.len());
        for key in extra {
            pickle_extra_key(&mut pickler, key, &mut tags);
        }
        pickler.end_tuple(extra.len());
    }
    pickler.end_tuple(3);
    pickler.finish();
}

fn pickle_extra_key(pickler: &mut Pickler<'_>, key: &ExtraKey<'_>, tags: &mut [Option<u32>; 4]) {
    pickler.begin_tuple(key.items());
    match tags[key.tag()] {
        Some(index) => pickler.get(index),
        None => tags[key.tag()] = Some(pickler.text(ExtraKey::TAGS[key.tag()])),
    }
    match *key {
        ExtraKey::Lora { name, path } => {
            pickler.text(name);
            pickler.text(path);
        }
        ExtraKey::Multimodal { identifier, offset } => {
            pickler.text(identifier);
            pickler.integer(offset);
        }
        ExtraKey::CacheSalt(salt) => {
            pickler.text(salt);
        }
        ExtraKey::PromptEmbeds(digest) => {
            pickler.bytes(digest);
        }
    }
    pickler.end_tuple(key.items());
}

fn cbor_block(out: &mut Vec<u8>, parent: &[u8], tokens: &[u32], extra: &[ExtraKey<'_>]) {
    out.clear();
    cbor::array(out, 3);
    cbor::bytes(out, parent);
    cbor::tokens(out, tokens);
    if extra.is_empty() {
        cbor::null(out);
        return;
    }
    cbor::array(out, extra.len());
    for key in extra {
        cbor::array(out, key.items());
        cbor::text(out, ExtraKey::TAGS[key.tag()]);
        match *key {
            ExtraKey::Lora { name, path } => {
                cbor::text(out, name);
                cbor::text(out, path);
            }
            ExtraKey::Multimodal { identifier, offset } => {
                cbor::text(out, identifier);
                cbor::integer(out, offset);
            }
            ExtraKey::CacheSalt(salt) => cbor::text(out, salt),
            ExtraKey::PromptEmbeds(digest) => cbor::bytes(out, digest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::hex;

    fn chain(algorithm: VllmAlgorithm, seed: &str, tokens: &[u32], size: usize) -> Vec<[u8; 32]> {
        VllmHasher::new(algorithm, seed).hash_blocks(tokens, size)
    }

    fn last(algorithm: VllmAlgorithm, tokens: &[u32], size: usize) -> String {
        hex(chain(algorithm, "0", tokens, size).last().unwrap())
    }

    /// The hashes that a live engine published, and those that `CPython` computes.
    #[test]
    fn engine_vectors() {
        let tokens: Vec<u32> = (10..74).collect();
        let cases = [
            (
                VllmAlgorithm::Sha256,
                "0",
                "1973e23848344dc43a988a9b478663803cfffe1243480253f9a3cf004b14aa7c",
                [
                    "be1acd5e0d7f9ab4fb30aeb28bd8822bc5596e1bf84d091773535d66e7687837",
                    "a9bbf3494f9b222fece9ade9f437c44f6875c786d1fe1be56c732198c5533a74",
                ],
                [8310088433979127863, 7814626718447254132],
            ),
            (
                VllmAlgorithm::Sha256Cbor,
                "0",
                "4e1195df020de59e0d65a33a4279f1183e7ae4e5d980e309f8b55adff2e61c3e",
                [
                    "3c7ee2320939c2e748b3f764a3b92ec6a9f4416c8e9110d3fcc80fd4b3850782",
                    "e43554ca1a301a466467b34f35b55618d461f9fd6baf01422604c9ee39481368",
                ],
                [18214826099119294338, 2739536498348528488],
            ),
            (
                VllmAlgorithm::Sha256,
                DEFAULT_SEED,
                "066b1e8987e027138e98701c46128929378935f9b6cd1549105ae6b4f0d71198",
                [
                    "f81b320956681841f421b4e60eb51946fd76c2cc36231fbe4527907fc7d50a27",
                    "1229edb1087cffba76978d3871f3aca325490f68b0b120b77a92d89d1d56aa89",
                ],
                [4983110391196617255, 8832359988540648073],
            ),
            (
                VllmAlgorithm::Sha256Cbor,
                DEFAULT_SEED,
                "9bd96a485ad84efdafb72ee48a1d7a69bcead0f8f0433173941b276b9581eef0",
                [
                    "b99297313f3ae6d1d1fb03b6fe2bb856d01e1120907b5b1468450ae62be8e214",
                    "55c42e9ecf9b8c62ac67c8a186dfe89c09f8c458d750999a7387e97e97c60ee8",
                ],
                [7513423537032978964, 8324879166139141864],
            ),
        ];
        for (algorithm, seed, none, blocks, events) in cases {
            let hashes = chain(algorithm, seed, &tokens, 32);
            assert_eq!(hex(&VllmHasher::new(algorithm, seed).root()), none);
            assert_eq!(hashes.iter().map(|hash| hex(hash)).collect::<Vec<_>>(), blocks);
            assert_eq!(hashes.iter().map(event_hash).collect::<Vec<_>>(), events);
        }
    }

    /// Token ids of every integer width, in tuples of every form. From `CPython` 3.11 and cbor2.
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
            (
                12,
                "1d5be79f093ba137c02070644d171d142d786ca16b73702ddce097d6dfbdc41d",
                "c8e0ef13f3cfffe836f2585db65c0cbd8c3182d13fa7435f03798b8ddb7b75ac",
            ),
            (
                3,
                "6edfa13e2338c1be92bf0bccc639fdc0b4c986026f39185b1cd162664c00f578",
                "a6308efebcb2ae9f0494693edff586619cbb81c13328219baecdd7b1d335c9b7",
            ),
            (
                2,
                "71e3fb30a1e5d29125b0a8cceb59ab355b2d1028015db242f06d0126c8445143",
                "4f16575ada26f3b3248f451ebb46cc4829f9f38906d3e2337ebf6936e781a462",
            ),
            (
                1,
                "4a8072de72a660ebf4a130f6126bd4285f20130309744b7f7d3c767352338903",
                "5ed1763b66dae0997f5999677ad9598e4bff569e8682dcf423e057006cf663e7",
            ),
        ];
        for (size, pickle, cbor) in cases {
            assert_eq!(last(VllmAlgorithm::Sha256, &wide, size), pickle, "size {size}");
            assert_eq!(last(VllmAlgorithm::Sha256Cbor, &wide, size), cbor, "size {size}");
        }
    }

    /// More than 255 tokens, and more than one 64 KiB frame.
    #[test]
    fn long_blocks() {
        let long: Vec<u32> = (0..400).map(|index| index * 7919 % 152_064).collect();
        let huge: Vec<u32> = (0..30_000).map(|index| 100_000 + index).collect();
        assert_eq!(
            last(VllmAlgorithm::Sha256, &long, 400),
            "27ebfd45d6426d7251c9bd95f2641f95fcf61300a07cc486067d481e44fa6006"
        );
        assert_eq!(
            last(VllmAlgorithm::Sha256Cbor, &long, 400),
            "dfa425dd495b6e567f6057f7911d07d36b3d002f31c61c0739605aece1b7d85c"
        );
        assert_eq!(
            last(VllmAlgorithm::Sha256, &huge, 30_000),
            "30d70e74268f7c042886f54941729f5d2ce2142e09753aa675be90988609260f"
        );
        assert_eq!(
            last(VllmAlgorithm::Sha256Cbor, &huge, 30_000),
            "cf268c6daded0cccb923c7c5cbcab2194002f4c96362b921bd68f17c6e523b30"
        );
    }

    #[test]
    fn extra_keys() {
        let embeds: Vec<u8> = (0..32).collect();
        let salt = "x".repeat(300);
        let all = [
            ExtraKey::Lora { name: "adapter", path: "/models/adapter" },
            ExtraKey::Multimodal { identifier: "img-a", offset: 0 },
            ExtraKey::Multimodal { identifier: "img-b", offset: -7 },
            ExtraKey::CacheSalt("tenant"),
            ExtraKey::PromptEmbeds(&embeds),
        ];
        let lora = [ExtraKey::Lora { name: "a", path: "b" }];
        let long_salt = [ExtraKey::CacheSalt(&salt)];
        let far = [
            ExtraKey::Multimodal { identifier: "i", offset: 70_000 },
            ExtraKey::Multimodal { identifier: "j", offset: -(1 << 40) },
        ];
        let cases: [(&[ExtraKey<'_>], &str, &str); 4] = [
            (
                &all,
                "944a82da5c40a1b2ff7363cf87ec8af52494f7b79cb0ce510a807022d7c47950",
                "e15a137ada9fbfe10bb067f58ce2524a451fe0224cec2ae64ef6556846fd674a",
            ),
            (
                &lora,
                "f38c5d25e46e929ad22a20c8d090b0fa4cb5c8a6d96129f7db55b1eb37071fca",
                "cd28604559a1444a5f603bd09a5965b8114e2f398983cd5eed8e0b657ed7548e",
            ),
            (
                &long_salt,
                "4fcdfb3218df1f2684e90be147fb4bb22ad777139629b720c5bbc5476b52a3c6",
                "2b04f890a9b1e5998aa22bb917faeee38e460e074ac220f749917c01aeaa7701",
            ),
            (
                &far,
                "8f83cbde60515985c1acb27368a73021b50e2ddcb2e8c84d8b45f85c02ed8bce",
                "92471023fee52981d7494b86403d8af956de648feb18f571d91386b3dd561ac8",
            ),
        ];
        let tokens: Vec<u32> = (0..16).collect();
        for (extra, pickle, cbor) in cases {
            let mut hasher = VllmHasher::new(VllmAlgorithm::Sha256, "0");
            assert_eq!(hex(&hasher.hash_block_with(&hasher.root(), &tokens, extra)), pickle);
            let mut hasher = VllmHasher::new(VllmAlgorithm::Sha256Cbor, "0");
            assert_eq!(hex(&hasher.hash_block_with(&hasher.root(), &tokens, extra)), cbor);
        }
    }

    #[test]
    fn only_full_blocks_have_hashes_and_chains_continue() {
        let tokens: Vec<u32> = (0..50).collect();
        let mut hasher = VllmHasher::new(VllmAlgorithm::Sha256, "0");
        let hashes = hasher.hash_blocks(&tokens, 16);
        assert_eq!(hashes.len(), 3);
        assert_eq!(hasher.hash_blocks_after(&hashes[0], &tokens[16..], 16), hashes[1..]);
        assert!(hasher.hash_blocks(&tokens, 0).is_empty());
    }
}
