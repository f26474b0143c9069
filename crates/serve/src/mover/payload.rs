//! The bytes of a chunk, derived from its hash, so that a load can check them.
//!
//! Each page of 4 KiB begins with a stamp of the chunk's hash and the page's number; the rest stays
//! as it is. This touches every page but costs a hundredth of a copy, so the measured time is the
//! tiers'. Tiers checksum whole blocks.

use weir_store::ChunkHash;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const PAGE: usize = 4096;
const STAMP: usize = 8;

pub(super) fn fill(chunk: ChunkHash, block: &mut [u8]) {
    let seed = seed(chunk);
    for (number, page) in block.chunks_mut(PAGE).enumerate() {
        let stamp = stamp(seed, number);
        let length = page.len().min(STAMP);
        page[..length].copy_from_slice(&stamp[..length]);
    }
}

pub(super) fn holds(chunk: ChunkHash, block: &[u8]) -> bool {
    let seed = seed(chunk);
    block.chunks(PAGE).enumerate().all(|(number, page)| {
        let length = page.len().min(STAMP);
        page[..length] == stamp(seed, number)[..length]
    })
}

fn seed(chunk: ChunkHash) -> u64 {
    xxh3_64_with_seed(&chunk.0, 0)
}

fn stamp(seed: u64, page: usize) -> [u8; STAMP] {
    // SplitMix64 step.
    let mut mixed = seed.wrapping_add((page as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed ^ (mixed >> 31)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_told_from_another_and_from_a_damaged_or_shifted_one() {
        let (one, other) = (ChunkHash([1; 32]), ChunkHash([2; 32]));
        let mut block = vec![0xAA; 3 * PAGE + 100];
        fill(one, &mut block);
        assert!(holds(one, &block));
        assert!(!holds(other, &block));
        let mut damaged = block.clone();
        damaged[2 * PAGE + 3] ^= 1;
        assert!(!holds(one, &damaged));
        let mut shifted = block.clone();
        shifted.rotate_left(PAGE);
        assert!(!holds(one, &shifted));
        assert_eq!(block[PAGE + STAMP], 0xAA);
    }
}
