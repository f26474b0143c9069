//! Host memory: Weir's tier beside plain copies of the same blocks, on one core.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_store::{Block, Get, Loaded, MemoryOptions, MemoryTier, Put, Slab, Stored, Tier};
use weir_tier::EvictionPolicy;

use crate::Setting;
use crate::allocations;
use crate::blocks::{check, fill, name, size, spoil, take};
use crate::contest::{Contestant, Seat, run};
use crate::figures::{Allocations, Case, Demand, Round};
use crate::machine::{Cores, Reading};

/// Bytes of a batch, and most blocks of it.
const BATCH_BYTES: usize = 32 << 20;
const BATCH_BLOCKS_MAX: usize = 64;
/// Per batch.
const PATIENCE: Duration = Duration::from_mins(1);

const LIMIT: Demand = Demand { rate: Some(0.85), processor: None, is_limit: true };

pub(crate) fn case(setting: &Setting, block_bytes: usize) -> Result<Case> {
    Cores::pin(setting.cores.client)?;
    let count = setting.memory_bytes / block_bytes;
    let slab = Slab::new(2 * count as u32, block_bytes)?;
    let mut buffers = Buffers { sources: take(&slab, count)?, sinks: take(&slab, count)? };
    fill(&mut buffers.sources);
    let buffers = std::cell::RefCell::new(buffers);
    let capacity = count as u32;
    let options = MemoryOptions { capacity, block_bytes, eviction: EvictionPolicy::Lru };
    let tier = MemoryTier::new(options)?;
    let batch = (BATCH_BYTES / block_bytes).clamp(1, BATCH_BLOCKS_MAX);
    let notes = vec![format!(
        "core {}; {} stored and loaded per round, {batch} blocks a call, other keys every round, \
         so that each block evicts one; memory of the tier: {}",
        setting.cores.client,
        size(count * block_bytes),
        tier.pages()
    )];
    let seats = vec![
        Seat::Taken(Box::new(Weir { tier, batch, buffers: &buffers, round: 0 })),
        Seat::Taken(Box::new(Copies {
            held: take(&Slab::new(capacity, block_bytes)?, count)?,
            buffers: &buffers,
        })),
    ];
    run(format!("host memory, {}", size(block_bytes)), notes, seats, setting.pace)
}

struct Buffers {
    sources: Vec<Block>,
    sinks: Vec<Block>,
}

type Shared<'c> = &'c std::cell::RefCell<Buffers>;

struct Weir<'c> {
    tier: MemoryTier,
    batch: usize,
    buffers: Shared<'c>,
    round: u64,
}

impl Weir<'_> {
    fn put(&self, sources: &[Block], batch: usize, outcomes: &mut [Stored]) -> Result<u64> {
        let mut allocated = 0;
        let mut puts = Vec::with_capacity(batch);
        for (part, blocks) in sources.chunks(batch).enumerate() {
            puts.clear();
            let from = self.round << 32 | (part * batch) as u64;
            puts.extend(blocks.iter().zip(from..).map(|(bytes, at)| Put { key: name(at), bytes }));
            let outcomes = &mut outcomes[..puts.len()];
            let before = allocations::so_far();
            self.tier.put(&puts, Instant::now() + PATIENCE, outcomes);
            allocated += allocations::so_far() - before;
            let failed = outcomes.iter().find(|outcome| **outcome != Stored::Stored);
            ensure!(failed.is_none(), "a block was not stored: {failed:?}");
        }
        Ok(allocated)
    }

    fn get(&self, sinks: &mut [Block], batch: usize, outcomes: &mut [Loaded]) -> Result<u64> {
        let mut allocated = 0;
        for (part, blocks) in sinks.chunks_mut(batch).enumerate() {
            let from = self.round << 32 | (part * batch) as u64;
            let named = blocks.iter_mut().zip(from..);
            let mut gets: Vec<Get<'_>> =
                named.map(|(into, at)| Get { key: name(at), into }).collect();
            let outcomes = &mut outcomes[..gets.len()];
            let before = allocations::so_far();
            self.tier.get(&mut gets, Instant::now() + PATIENCE, outcomes);
            allocated += allocations::so_far() - before;
            let failed = outcomes.iter().find(|outcome| **outcome != Loaded::Hit);
            ensure!(failed.is_none(), "a block was not loaded: {failed:?}");
        }
        Ok(allocated)
    }
}

impl Contestant for Weir<'_> {
    fn name(&self) -> String {
        "Weir".to_owned()
    }

    fn demand(&self) -> Option<Demand> {
        None
    }

    fn warm_up_rounds(&self) -> u32 {
        // The first fills the tier, and the second evicts.
        2
    }

    fn round(&mut self) -> Result<Round> {
        let Buffers { sources, sinks } = &mut *self.buffers.borrow_mut();
        self.round += 1;
        let mut stored = vec![Stored::Full; self.batch];
        let mut fetched = vec![Loaded::Miss; self.batch];
        let bytes = sources.iter().map(|block| block.len() as u64).sum();
        spoil(sinks);
        let start = Reading::take(None, None);
        self.put(sources, self.batch, &mut stored)?;
        let between = Reading::take(None, None);
        self.get(sinks, self.batch, &mut fetched)?;
        let end = Reading::take(None, None);
        check(sinks, sources.iter(), "Weir")?;
        Ok([start.sample(between, bytes, None), between.sample(end, bytes, None)])
    }

    fn allocations(&mut self) -> Result<Option<[Allocations; 2]>> {
        let Buffers { sources, sinks } = &mut *self.buffers.borrow_mut();
        let (half, mut counts) = (self.batch / 2, [[0; 2]; 2]);
        let mut stored = vec![Stored::Full; self.batch];
        let mut fetched = vec![Loaded::Miss; self.batch];
        for (place, blocks) in [half, self.batch].into_iter().enumerate() {
            self.round += 1;
            counts[0][place] = self.put(&sources[..blocks], blocks, &mut stored)?;
            counts[1][place] = self.get(&mut sinks[..blocks], blocks, &mut fetched)?;
        }
        Ok(Some(counts.map(|[few, many]| Allocations::of_calls(few, many, half))))
    }
}

/// The limit: each block copied to its place, and back.
struct Copies<'c> {
    held: Vec<Block>,
    buffers: Shared<'c>,
}

impl Contestant for Copies<'_> {
    fn name(&self) -> String {
        "memcpy".to_owned()
    }

    fn demand(&self) -> Option<Demand> {
        Some(LIMIT)
    }

    fn warm_up_rounds(&self) -> u32 {
        2
    }

    fn round(&mut self) -> Result<Round> {
        let Buffers { sources, sinks } = &mut *self.buffers.borrow_mut();
        let bytes = sources.iter().map(|block| block.len() as u64).sum();
        spoil(sinks);
        let start = Reading::take(None, None);
        copy(sources, &mut self.held);
        let between = Reading::take(None, None);
        copy(&self.held, sinks);
        let end = Reading::take(None, None);
        let last = sinks.last().context("no blocks")?;
        ensure!(**last == **sources.last().context("no blocks")?, "the last block is another one");
        Ok([start.sample(between, bytes, None), between.sample(end, bytes, None)])
    }
}

fn copy(from: &[Block], to: &mut [Block]) {
    for (from, to) in from.iter().zip(&mut *to) {
        to.copy_from_slice(from);
    }
    std::hint::black_box(to);
}
