//! `LMCache`'s chunk hashes: those of its server and those of the connector inside the engine.
//!
//! The server (0.5.6, the default path) chains BLAKE3 over raw token bytes. The in-process
//! connector borrows vLLM's hash function and keeps only the first eight bytes of each digest,
//! which become the next prefix; only `sha256_cbor` is portable there, Python's builtin `hash()`
//! is not.

use sha2::{Digest, Sha256};

use super::vllm::{VllmAlgorithm, VllmHasher};
use super::{BlockHasher, cbor};

/// The chain of the `LMCache` server: `BLAKE3(prefix || tokens as u32 big endian)`.
#[derive(Debug, Clone)]
pub struct ServerHasher {
    none_hash: [u8; 32],
    buffer: Vec<u8>,
}

impl ServerHasher {
    /// A hasher. The root is `BLAKE3(0 as i64 big endian || 0 as u32 big endian)`.
    pub fn new() -> Self {
        Self { none_hash: blake3::hash(&[0; 12]).into(), buffer: Vec::new() }
    }
}

impl Default for ServerHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl BlockHasher for ServerHasher {
    type Hash = [u8; 32];

    fn root(&self) -> [u8; 32] {
        self.none_hash
    }

    fn hash_block(&mut self, parent: &[u8; 32], tokens: &[u32]) -> [u8; 32] {
        self.buffer.clear();
        self.buffer.extend_from_slice(parent);
        for token in tokens {
            self.buffer.extend_from_slice(&token.to_be_bytes());
        }
        blake3::hash(&self.buffer).into()
    }
}

/// The chain of the in-process connector with `pre_caching_hash_algorithm: sha256_cbor`: the
/// first eight bytes, big endian, of `SHA-256(CBOR([prefix, tokens, []]))`.
#[derive(Debug, Clone)]
pub struct InProcessHasher {
    none_hash: u64,
    buffer: Vec<u8>,
}

impl InProcessHasher {
    /// A hasher with the engine's seed string; see [`VllmHasher::new`].
    pub fn new(seed: &str) -> Self {
        let root = VllmHasher::new(VllmAlgorithm::Sha256Cbor, seed).root();
        Self { none_hash: first_eight_bytes(&root), buffer: Vec::new() }
    }
}

impl BlockHasher for InProcessHasher {
    type Hash = u64;

    fn root(&self) -> u64 {
        self.none_hash
    }

    fn hash_block(&mut self, parent: &u64, tokens: &[u32]) -> u64 {
        self.buffer.clear();
        cbor::array(&mut self.buffer, 3);
        cbor::unsigned(&mut self.buffer, *parent);
        cbor::tokens(&mut self.buffer, tokens);
        cbor::array(&mut self.buffer, 0);
        first_eight_bytes(&Sha256::digest(&self.buffer).into())
    }
}

fn first_eight_bytes(digest: &[u8; 32]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::hex;
    use crate::block::vllm::DEFAULT_SEED;

    fn tokens() -> Vec<u32> {
        (0..64).map(|index| 7 * index % 4000 + 10).collect()
    }

    /// Verified against the keys that a real server wrote to Redis.
    #[test]
    fn server_vectors() {
        let mut hasher = ServerHasher::new();
        assert_eq!(
            hex(&hasher.root()),
            "7e3eff9ef7613a50340eb12677ee03b83ac759fcba9bb32705f07248d56d473b"
        );
        let whole = hasher.hash_blocks(&tokens(), 64);
        assert_eq!(whole.len(), 1);
        assert_eq!(
            hex(&whole[0]),
            "f0bfd9eae00cd17757c0978da70646d5791644a7b2df711d58f3bb68e9bca215"
        );
        let halves: Vec<String> =
            hasher.hash_blocks(&tokens(), 32).iter().map(|h| hex(h)).collect();
        assert_eq!(
            halves,
            [
                "32787dc3ab69e8d5bf91a91f17dec6943e6fae5dcb87791e7892144069a747f5",
                "81c913d6955b2e6f103e2c7b212f940bcc7b1d021b02dc615c2bcc6dd87fac94",
            ]
        );
    }

    /// From Python: `int.from_bytes(sha256(cbor2.dumps((prefix, tokens, ()))).digest()[:8])`.
    #[test]
    fn in_process_vectors() {
        let hashes = InProcessHasher::new(DEFAULT_SEED).hash_blocks(&tokens(), 32);
        assert_eq!(hashes, [0xc72adf293d87887c, 0xac9b7105e9dd0b57]);
    }
}
