//! The blocks of all contestants: contents, names, and buffers.

use anyhow::{Context, Result, ensure};
use weir_store::{Block, ChunkHash, Slab};

/// A step of SplitMix64 (Steele, Lea and Flood 2014): different for different numbers.
const fn mixed(number: u64) -> u64 {
    let mut word = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

pub(crate) fn name(number: u64) -> ChunkHash {
    let mut bytes = [0; 32];
    for (lane, word) in bytes.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&mixed(number.wrapping_add((lane as u64) << 56)).to_be_bytes());
    }
    ChunkHash(bytes)
}

/// Blocks of one slab, all of it faulted in.
pub(crate) fn take(slab: &std::sync::Arc<Slab>, count: usize) -> Result<Vec<Block>> {
    (0..count).map(|_| slab.take().context("the slab has too few blocks")).collect()
}

/// With contents that neither compression nor equal pages can shorten.
pub(crate) fn fill(blocks: &mut [Block]) {
    for (index, block) in blocks.iter_mut().enumerate() {
        for (place, word) in block.chunks_mut(8).enumerate() {
            let value = mixed((index as u64) << 32 | place as u64).to_le_bytes();
            word.copy_from_slice(&value[..word.len()]);
        }
    }
}

/// Makes the destination blocks differ from all stored ones.
pub(crate) fn spoil(blocks: &mut [Block]) {
    for block in blocks {
        block.fill(0xa5);
    }
}

/// Compares sinks with the sources of the same places.
pub(crate) fn check<'b>(
    sinks: &[Block],
    sources: impl Iterator<Item = &'b Block>,
    who: &str,
) -> Result<()> {
    for (index, (sink, source)) in sinks.iter().zip(sources).enumerate() {
        ensure!(**sink == **source, "{who}: block {index} is not what was stored");
    }
    Ok(())
}

/// Every number below a power of two once, far from its neighbours.
pub(crate) fn shuffled(count: usize) -> Vec<usize> {
    debug_assert!(count.is_power_of_two(), "an odd step meets every number");
    (0..count).map(|index| index.wrapping_mul(0x9e37_79b1) % count).collect()
}

pub(crate) fn size(bytes: usize) -> String {
    if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{} KiB", bytes >> 10)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use weir_store::Slab;

    use super::{check, fill, name, shuffled, size, spoil, take};

    #[test]
    fn contents_are_different_and_checked() {
        let slab = Slab::new(4, 4096).expect("a slab");
        let (mut sources, mut sinks) = (take(&slab, 2).expect("2"), take(&slab, 2).expect("2"));
        assert!(take(&slab, 1).is_err());
        fill(&mut sources);
        spoil(&mut sinks);
        assert_ne!(*sources[0], *sources[1]);
        assert!(check(&sinks, sources.iter(), "nobody").is_err());
        for (sink, source) in sinks.iter_mut().zip(&sources) {
            sink.copy_from_slice(source);
        }
        assert!(check(&sinks, sources.iter(), "nobody").is_ok());
    }

    #[test]
    fn names_and_orders_have_no_doubles() {
        let names: BTreeSet<_> = (0..1000).map(|number| name(number).0[..8].to_vec()).collect();
        assert_eq!(names.len(), 1000);
        let places: BTreeSet<_> = shuffled(256).into_iter().collect();
        assert_eq!((places.len(), places.last()), (256, Some(&255)));
    }

    #[test]
    fn sizes_are_in_binary_units() {
        assert_eq!([size(2 << 20), size(64 << 10)], ["2 MiB", "64 KiB"]);
    }
}
