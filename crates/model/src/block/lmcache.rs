//! The chunk hashes of `LMCache`'s server (0.5.6, the default path): BLAKE3 chained over raw token
//! bytes.

use super::BlockHasher;

/// The chain of the `LMCache` server: `BLAKE3(prefix || tokens as u32 big endian)`.
#[derive(Debug, Clone)]
pub struct ServerHasher {
    none_hash: [u8; 32],
    buffer: Vec<u8>,
}

impl ServerHasher {
    /// The root is `BLAKE3(0 as i64 big endian || 0 as u32 big endian)`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::hex;

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
        let root = hasher.root();
        let whole = hasher.hash_blocks_after(&root, &tokens(), 64);
        assert_eq!(whole.len(), 1);
        assert_eq!(
            hex(&whole[0]),
            "f0bfd9eae00cd17757c0978da70646d5791644a7b2df711d58f3bb68e9bca215"
        );
        let halves: Vec<String> =
            hasher.hash_blocks_after(&root, &tokens(), 32).iter().map(|h| hex(h)).collect();
        assert_eq!(
            halves,
            [
                "32787dc3ab69e8d5bf91a91f17dec6943e6fae5dcb87791e7892144069a747f5",
                "81c913d6955b2e6f103e2c7b212f940bcc7b1d021b02dc615c2bcc6dd87fac94",
            ]
        );
    }
}
