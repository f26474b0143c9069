//! Block contents that follow from the key, so that every load can be verified.
//!
//! All blocks share one random pattern, which does not compress. Each page begins with the block's
//! key and the page's number, so making a block writes 40 bytes per page. A page of another block,
//! another page of the same block and an unwritten page are all detected.

use weir_store::ChunkHash;
use weir_workload::RandomStream;

use crate::config::Verify;

/// Bytes with one stamp. Larger pages would hide more errors, smaller ones cost more to stamp: a
/// block of 2 MiB has 128.
const PAGE: usize = 16 << 10;
/// Bytes from the beginning of a page that a sampled check compares, stamp included.
const LOOKED_AT: usize = 1024;
/// Bytes: the key and the page's number.
const STAMP: usize = 40;
/// Pages of a sampled check besides the first and the last.
const SAMPLED: u64 = 6;

#[derive(Debug)]
pub struct Pattern {
    bytes: Vec<u8>,
}

impl Pattern {
    pub fn new(seed: u64, block_bytes: usize) -> Self {
        let mut stream = RandomStream::new(seed, "probe content", block_bytes as u64);
        let mut bytes = vec![0; block_bytes];
        for word in bytes.chunks_mut(6) {
            let value = stream.below(1 << 48).to_le_bytes();
            word.copy_from_slice(&value[..word.len()]);
        }
        Self { bytes }
    }

    pub fn lay(&self, block: &mut [u8]) {
        block.copy_from_slice(&self.bytes);
    }

    /// Turns a buffer with the pattern or any block into the block of this key.
    pub fn stamp(key: &ChunkHash, block: &mut [u8]) {
        for (number, page) in block.chunks_mut(PAGE).enumerate() {
            if page.len() >= STAMP {
                page[..32].copy_from_slice(&key.0);
                page[32..STAMP].copy_from_slice(&(number as u64).to_le_bytes());
            }
        }
    }

    /// Whether a loaded buffer holds the block of this key, as far as `verify` compares.
    pub fn is_block(
        &self,
        key: &ChunkHash,
        block: &[u8],
        verify: Verify,
        stream: &mut RandomStream,
    ) -> bool {
        let pages = block.len().div_ceil(PAGE);
        let is_page = |page, bytes| self.is_page(key, block, page, bytes);
        match verify {
            Verify::Full => (0..pages).all(|page| is_page(page, PAGE)),
            Verify::Sampled => {
                // The last page in full: a truncated block ends there.
                let ends = is_page(0, LOOKED_AT) && is_page(pages - 1, PAGE);
                ends && (0..SAMPLED)
                    .all(|_| is_page(stream.below(pages as u64) as usize, LOOKED_AT))
            }
        }
    }

    fn is_page(&self, key: &ChunkHash, block: &[u8], number: usize, bytes: usize) -> bool {
        let start = number * PAGE;
        let end = (start + bytes).min(block.len());
        let (page, pattern) = (&block[start..end], &self.bytes[start..end]);
        if page.len() < STAMP {
            return page == pattern;
        }
        page[..32] == key.0
            && page[32..STAMP] == (number as u64).to_le_bytes()
            && page[STAMP..] == pattern[STAMP..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeySpace;

    #[test]
    fn a_block_is_known_by_its_key_and_every_changed_byte_is_found() {
        let size = 3 * PAGE + 16;
        let pattern = Pattern::new(1, size);
        let mut stream = RandomStream::new(1, "test", 0);
        let keys = KeySpace::working(1);
        let mut block = vec![0; size];
        pattern.lay(&mut block);
        Pattern::stamp(&keys.key(3), &mut block);
        for verify in [Verify::Sampled, Verify::Full] {
            assert!(pattern.is_block(&keys.key(3), &block, verify, &mut stream));
            assert!(!pattern.is_block(&keys.key(4), &block, verify, &mut stream));
        }
        for place in 0..size {
            block[place] ^= 1;
            assert!(!pattern.is_block(&keys.key(3), &block, Verify::Full, &mut stream), "{place}");
            block[place] ^= 1;
        }
        // Pages of the right block in the wrong order.
        let (first, second) = block.split_at_mut(PAGE);
        first.swap_with_slice(&mut second[..PAGE]);
        assert!(!pattern.is_block(&keys.key(3), &block, Verify::Sampled, &mut stream));
    }

    #[test]
    fn a_buffer_is_used_again_for_another_key() {
        let pattern = Pattern::new(1, 2 * PAGE);
        let mut stream = RandomStream::new(1, "test", 0);
        let keys = KeySpace::working(1);
        let mut block = vec![0; 2 * PAGE];
        pattern.lay(&mut block);
        for index in 0..5 {
            Pattern::stamp(&keys.key(index), &mut block);
            assert!(pattern.is_block(&keys.key(index), &block, Verify::Full, &mut stream));
        }
    }
}
