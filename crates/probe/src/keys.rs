//! Names of blocks: the working set, and new ones for each lap of writes.

use weir_model::ContentId;
use weir_store::ChunkHash;
use weir_workload::config::Draw;
use weir_workload::{Picker, RandomStream};

/// Computed on demand, not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySpace {
    seed: u64,
    name: &'static str,
    generation: u64,
}

impl KeySpace {
    pub const fn working(seed: u64) -> Self {
        Self { seed, name: "probe working set", generation: 0 }
    }

    /// The keys of one lap of writes: distinct between laps and between seeds.
    pub const fn fresh(seed: u64, generation: u64) -> Self {
        Self { seed, name: "probe new block", generation }
    }

    pub fn key(self, index: u64) -> ChunkHash {
        let first = ContentId::derive(self.seed, self.name, self.generation).0;
        chunk_hash(first, index)
    }

    pub fn keys(self, places: std::ops::Range<u64>) -> Vec<ChunkHash> {
        places.map(|index| self.key(index)).collect()
    }
}

pub(crate) fn chunk_hash(first: u64, second: u64) -> ChunkHash {
    let mut bytes = [0; 32];
    for (word, out) in bytes.chunks_exact_mut(8).enumerate() {
        let salt = first ^ (word as u64);
        out.copy_from_slice(&ContentId::derive(salt, "probe key", second).0.to_le_bytes());
    }
    ChunkHash(bytes)
}

#[derive(Debug, Clone)]
pub struct Draws {
    space: KeySpace,
    blocks: u64,
    picker: Picker,
    stream: RandomStream,
    session: u64,
}

impl Draws {
    pub fn new(seed: u64, draw: Draw, blocks: u64, thread: u32, repeat: u32) -> Self {
        let index = (u64::from(repeat) << 32) | u64::from(thread);
        Self {
            space: KeySpace::working(seed),
            blocks,
            picker: Picker::new(draw, blocks),
            stream: RandomStream::new(seed, "probe draws", index),
            session: u64::from(thread) << 32,
        }
    }

    /// Fills in distinct keys for one batch; fewer if the working set has fewer.
    pub fn batch(&mut self, depth: u32, keys: &mut Vec<ChunkHash>) {
        let count = u64::from(depth).min(self.blocks);
        let places = self.picker.pick_different(self.session, count, &mut self.stream);
        self.session += 1;
        keys.clear();
        keys.extend(places.into_iter().map(|place| self.space.key(place)));
    }

    pub fn chance(&mut self, share: f64) -> bool {
        self.stream.unit() < share
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_of_places_laps_and_seeds_differ() {
        let mut seen = BTreeSet::new();
        for seed in [1, 2] {
            for space in
                [KeySpace::working(seed), KeySpace::fresh(seed, 0), KeySpace::fresh(seed, 1)]
            {
                for key in space.keys(0..100) {
                    assert!(seen.insert(key));
                }
            }
        }
        assert_eq!(KeySpace::working(1).key(5), KeySpace::working(1).keys(5..6)[0]);
    }

    #[test]
    fn a_batch_has_no_key_twice_and_threads_draw_apart() {
        let draw = Draw::Zipf { exponent: 1.2 };
        let mut draws = Draws::new(7, draw, 50, 0, 0);
        let mut keys = Vec::new();
        for _ in 0..200 {
            draws.batch(8, &mut keys);
            assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 8);
        }
        draws.batch(80, &mut keys);
        assert_eq!(keys.len(), 50);
        let mut first = |thread, repeat| {
            Draws::new(7, Draw::Uniform, 1000, thread, repeat).batch(4, &mut keys);
            keys.clone()
        };
        assert_ne!(first(0, 0), first(1, 0));
        assert_ne!(first(0, 0), first(0, 1));
        assert_eq!(first(0, 0), first(0, 0));
    }
}
