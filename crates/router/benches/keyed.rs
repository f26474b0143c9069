//! The index of real tokens on one core: events in, lookups out. `bench/index` does the same with
//! llm-d's index.
//!
//! `cargo bench -p weir-router --bench keyed` prints the best of five rounds, because other
//! programs use the machine too.

#![expect(clippy::print_stdout, reason = "the figures are the bench's output")]

use std::time::{Duration, Instant};

use weir_model::block::{BlockHasher, LlmDHasher};
use weir_router::{KeyedIndex, Match, TierWeights};

const BLOCK_TOKENS: usize = 16;
const PROMPT_BLOCKS: usize = 100;
const PROMPTS: usize = 2000;
const REPLICAS: u16 = 4;
const LOOKUPS: usize = 200_000;
const ROUNDS: usize = 5;

/// The tokens of a prompt, as in `bench/index/main.go`.
fn tokens(prompt: usize) -> Vec<u32> {
    let mut state = (prompt as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32 % 150_000
    };
    (0..PROMPT_BLOCKS * BLOCK_TOKENS).map(|_| next()).collect()
}

/// Engines name blocks by other hashes than the index.
const fn engine_key(prompt: usize, block: usize) -> u64 {
    let mut x = (prompt * PROMPT_BLOCKS + block + 1) as u64;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[derive(Clone, Copy)]
struct Row {
    what: &'static str,
    count: usize,
    best: Duration,
}

impl Row {
    const fn new(what: &'static str, count: usize) -> Self {
        Self { what, count, best: Duration::MAX }
    }

    fn time<T>(&mut self, mut run: impl FnMut() -> T) -> T {
        let start = Instant::now();
        let result = run();
        self.best = self.best.min(start.elapsed());
        result
    }
}

fn main() {
    let prompts: Vec<Vec<u32>> = (0..PROMPTS).map(tokens).collect();
    let weights = TierWeights { gpu: 1.0, below: 0.8 };
    let mut hasher = LlmDHasher::new("", "m");
    let mut rows = [
        Row::new("events of one block", PROMPTS * PROMPT_BLOCKS),
        Row::new("keys of 100 blocks", PROMPTS),
        Row::new("lookups of 100 blocks", LOOKUPS),
        Row::new("removals of one block", PROMPTS * PROMPT_BLOCKS),
    ];
    for _ in 0..ROUNDS {
        let mut index = KeyedIndex::new(weights, false);
        let medium = index.medium("gpu");
        rows[0].time(|| {
            for (prompt, tokens) in prompts.iter().enumerate() {
                let replica = prompt as u16 % REPLICAS;
                for (block, tokens) in tokens.chunks_exact(BLOCK_TOKENS).enumerate() {
                    let engine_parent = block.checked_sub(1).map(|at| engine_key(prompt, at));
                    let parent = engine_parent.and_then(|key| index.key_of(key));
                    let key = hasher.hash_block(&parent.unwrap_or(hasher.root()), tokens);
                    let engine_keys = [engine_key(prompt, block)];
                    index.store(replica, medium, parent, &[key], &engine_keys);
                }
            }
        });
        let keys: Vec<Vec<u64>> = rows[1].time(|| {
            let root = hasher.root();
            prompts.iter().map(|it| hasher.hash_blocks_after(&root, it, BLOCK_TOKENS)).collect()
        });
        let mut matches = [Match::default(); REPLICAS as usize];
        rows[2].time(|| {
            for lookup in 0..LOOKUPS {
                let prompt = lookup % PROMPTS;
                index.lookup(&keys[prompt], &mut matches);
                assert_eq!(matches[prompt % matches.len()].blocks, PROMPT_BLOCKS as u32);
            }
        });
        rows[3].time(|| {
            for prompt in 0..PROMPTS {
                for block in (0..PROMPT_BLOCKS).rev() {
                    index.remove(prompt as u16 % REPLICAS, medium, engine_key(prompt, block));
                }
            }
        });
        assert_eq!(index.known_blocks(), 0);
    }
    for Row { what, count, best } in rows {
        let (seconds, nanos) = (best.as_secs_f64(), best.as_nanos() as f64);
        println!(
            "{what:<28} {:>12.0} /s  {:>8.1} ns",
            count as f64 / seconds,
            nanos / count as f64
        );
    }
}
