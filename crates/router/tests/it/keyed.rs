//! The index of real tokens against a plain reference, and its rules one by one.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use weir_model::block::{BlockHasher, LlmDHasher};
use weir_router::{KeyedIndex, Match, TierWeights};

const REPLICAS: u16 = 3;
const WEIGHTS: TierWeights = TierWeights { gpu: 1.0, below: 0.8 };
const MEDIA: [&str; 2] = ["gpu", "cpu"];

/// One map entry per block, replica and medium.
#[derive(Default)]
struct Reference {
    stores: BTreeMap<(u64, u16, &'static str), u32>,
    engine: BTreeMap<u64, Vec<u64>>,
}

impl Reference {
    fn store(&mut self, replica: u16, medium: &'static str, keys: &[u64], engine_keys: &[u64]) {
        let mut covered: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let pairs = keys.len().max(engine_keys.len());
        for at in 0..pairs {
            let engine = engine_keys[at * engine_keys.len() / pairs];
            covered.entry(engine).or_default().push(keys[at * keys.len() / pairs]);
        }
        self.engine.extend(covered);
        for key in keys {
            *self.stores.entry((*key, replica, medium)).or_default() += 1;
        }
    }

    fn remove(&mut self, replica: u16, medium: &'static str, engine_key: u64) {
        let Some(keys) = self.engine.get(&engine_key).cloned() else { return };
        for key in &keys {
            if let Some(stores) = self.stores.get_mut(&(*key, replica, medium)) {
                *stores -= 1;
                if *stores == 0 {
                    self.stores.remove(&(*key, replica, medium));
                }
            }
        }
        self.forget_engine_keys(|it| it == engine_key);
    }

    fn clear(&mut self, replica: u16) {
        self.stores.retain(|(_, of, _), _| *of != replica);
        self.forget_engine_keys(|_| true);
    }

    fn forget_engine_keys(&mut self, which: impl Fn(u64) -> bool) {
        let known = self.keys();
        self.engine.retain(|engine_key, keys| {
            !which(*engine_key) || keys.iter().any(|key| known.contains(key))
        });
    }

    fn keys(&self) -> BTreeSet<u64> {
        self.stores.keys().map(|(key, _, _)| *key).collect()
    }

    fn lookup(&self, keys: &[u64]) -> Vec<Match> {
        let of = |replica: u16| {
            let mut found = Match::default();
            for key in keys {
                let weight = |medium| if medium == "gpu" { WEIGHTS.gpu } else { WEIGHTS.below };
                let held = MEDIA.map(|medium| self.stores.contains_key(&(*key, replica, medium)));
                let weights = MEDIA.iter().zip(held).filter(|(_, held)| *held);
                let Some(best) = weights.map(|(medium, _)| weight(*medium)).reduce(f64::max) else {
                    break;
                };
                found.blocks += 1;
                found.score += best;
            }
            found
        };
        (0..REPLICAS).map(of).collect()
    }
}

#[derive(Debug, Clone)]
enum Change {
    /// Blocks `from..to` of a sequence, in engine blocks of so many index blocks.
    Store(u16, usize, u64, u64, u64, u64),
    Remove(u16, usize, u64, u64),
    Clear(u16),
}

/// Sequences share their first four blocks.
fn key(sequence: u64, block: u64) -> u64 {
    if block < 4 { block + 1 } else { 1000 * (sequence + 1) + block }
}

fn engine_key(sequence: u64, block: u64) -> u64 {
    0xe000_0000 + key(sequence, block)
}

fn changes() -> impl Strategy<Value = Change> {
    let store = (0..REPLICAS, 0..2_usize, 0..4_u64, 0..12_u64, 1..6_u64, 1..4_u64)
        .prop_map(|(r, m, s, from, blocks, per)| Change::Store(r, m, s, from, from + blocks, per));
    let remove = (0..REPLICAS, 0..2_usize, 0..4_u64, 0..18_u64)
        .prop_map(|(r, m, s, block)| Change::Remove(r, m, s, block));
    prop_oneof![10 => store, 10 => remove, 1 => (0..REPLICAS).prop_map(Change::Clear)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn equals_a_map_of_all_blocks(changes in vec(changes(), 1..60)) {
        let (mut index, mut reference) = (KeyedIndex::new(WEIGHTS, true), Reference::default());
        for change in changes {
            match change {
                Change::Store(replica, medium, sequence, from, to, per) => {
                    let keys: Vec<u64> = (from..to).map(|block| key(sequence, block)).collect();
                    let starts = (from..to).step_by(per as usize);
                    let engine: Vec<u64> = starts.map(|it| engine_key(sequence, it)).collect();
                    let parent = from.checked_sub(1).map(|block| key(sequence, block));
                    let id = index.medium(MEDIA[medium]);
                    index.store(replica, id, parent, &keys, &engine);
                    reference.store(replica, MEDIA[medium], &keys, &engine);
                }
                Change::Remove(replica, medium, sequence, block) => {
                    let id = index.medium(MEDIA[medium]);
                    index.remove(replica, id, engine_key(sequence, block));
                    reference.remove(replica, MEDIA[medium], engine_key(sequence, block));
                }
                Change::Clear(replica) => {
                    index.clear(replica);
                    reference.clear(replica);
                }
            }
            prop_assert_eq!(index.known_blocks(), reference.keys().len() as u64);
            for sequence in 0..4 {
                let keys: Vec<u64> = (0..18).map(|block| key(sequence, block)).collect();
                let mut matches = vec![Match::default(); usize::from(REPLICAS)];
                index.lookup(&keys, &mut matches);
                prop_assert_eq!(&matches, &reference.lookup(&keys));
                for block in 0..18 {
                    let engine_key = engine_key(sequence, block);
                    let last = reference.engine.get(&engine_key).and_then(|it| it.last());
                    prop_assert_eq!(index.key_of(engine_key), last.copied());
                }
            }
        }
    }
}

fn matched(index: &KeyedIndex, keys: &[u64]) -> Vec<u32> {
    let mut matches = vec![Match::default(); usize::from(REPLICAS)];
    index.lookup(keys, &mut matches);
    matches.iter().map(|found| found.blocks).collect()
}

#[test]
fn engines_with_other_seeds_share_keys() {
    let mut hasher = LlmDHasher::new("", "m");
    let tokens: Vec<u32> = (0..64).collect();
    let root = hasher.root();
    let keys = hasher.hash_blocks_after(&root, &tokens, 16);
    let mut index = KeyedIndex::new(WEIGHTS, true);
    let gpu = index.medium("gpu");
    index.store(0, gpu, None, &keys, &[11, 12, 13, 14]);
    index.store(1, gpu, None, &keys[..2], &[21, 22]);
    assert_eq!(matched(&index, &keys), [4, 2, 0]);
    // The same blocks as vLLM announces them while it decodes: one by one behind the parent.
    let parent = index.key_of(22).unwrap();
    let third = hasher.hash_block(&parent, &tokens[32..48]);
    index.store(1, gpu, Some(parent), &[third], &[23]);
    assert_eq!(matched(&index, &keys), [4, 3, 0]);
    assert_eq!(index.known_blocks(), 4);
}

#[test]
fn a_block_in_host_memory_counts_less_and_needs_no_tokens() {
    let mut index = KeyedIndex::new(WEIGHTS, true);
    let (gpu, cpu) = (index.medium("gpu"), index.medium("cpu"));
    index.store(0, gpu, None, &[1, 2], &[11, 12]);
    assert_eq!(index.store_known(0, cpu, &[11, 12, 99]), 2);
    index.remove(0, gpu, 11);
    index.remove(0, gpu, 12);
    let mut matches = [Match::default(); 1];
    index.lookup(&[1, 2], &mut matches);
    assert_eq!(matches[0], Match { blocks: 2, score: 1.6 });
}

#[test]
fn what_was_stored_twice_is_removed_twice() {
    let mut index = KeyedIndex::new(WEIGHTS, true);
    let gpu = index.medium("gpu");
    index.store(0, gpu, None, &[1], &[11]);
    index.store(0, gpu, None, &[1], &[11]);
    index.remove(0, gpu, 11);
    assert_eq!(matched(&index, &[1]), [1, 0, 0]);
    index.remove(0, gpu, 11);
    assert_eq!(matched(&index, &[1]), [0, 0, 0]);
    // Without counting, the first removal forgets it.
    let mut index = KeyedIndex::new(WEIGHTS, false);
    index.store(0, gpu, None, &[1], &[11]);
    index.store(0, gpu, None, &[1], &[11]);
    index.remove(0, gpu, 11);
    assert_eq!(matched(&index, &[1]), [0, 0, 0]);
}
