//! One thread that moves bytes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;
use weir_engine::{TransferKind, TransferOutcome};
use weir_model::TierKind;
use weir_model::block::{BlockHasher, ServerHasher};
use weir_store::slab::Block;
use weir_store::{ChunkHash, Fetched, Get, Put, Stored, Tier};

use super::line::Line;
use super::{BATCH, CarrierConfig, Chunks, Done, Job, Tally, Task, payload};

/// Keys that one lookup asks for at once. A lookup stops at the first chunk that is not there, so
/// more would mostly be asked in vain.
const KEYS: usize = 32;

pub(super) struct Worker {
    config: Arc<CarrierConfig>,
    tally: Arc<Tally>,
    done: UnboundedSender<Done>,
    hasher: ServerHasher,
    /// Stand-in GPU memory: what is stored is made here, what is loaded arrives here.
    blocks: Vec<Block>,
    keys: Vec<ChunkHash>,
}

impl Worker {
    pub(super) fn new(
        config: Arc<CarrierConfig>,
        tally: Arc<Tally>,
        done: UnboundedSender<Done>,
        blocks: Vec<Block>,
    ) -> Self {
        Self { config, tally, done, hasher: ServerHasher::new(), blocks, keys: Vec::new() }
    }

    /// Works until the line is closed.
    pub(super) fn run(mut self, line: &Line) {
        while let Some(job) = line.next() {
            self.name(&job.chunks);
            let done = match job.task {
                Task::Move { id, kind, tier } => {
                    let outcome = self.carry(&job, kind, tier);
                    Some(Done::Transfer { replica: job.replica, id, outcome })
                }
                Task::Look { slot } => Some(Done::Lookup {
                    replica: job.replica,
                    slot,
                    from_chunk: job.chunks.from,
                    found: self.look(),
                }),
                Task::Let { tier } => {
                    if let Some(tier) = self.tier(job.replica, tier) {
                        // A chunk that stays is one that the tier evicts by itself later.
                        let _ = tier.remove(&self.keys, self.deadline());
                    }
                    None
                }
            };
            if let Some(done) = done {
                // Nobody listens any more when the server ends.
                let _ = self.done.send(done);
            }
        }
    }

    /// The names of the chunks of a job, by the chain of LMCache's server. A salt changes them all.
    fn name(&mut self, chunks: &Chunks) {
        let tokens = self.config.chunk_tokens as usize;
        let mut parent = self.hasher.root();
        if !chunks.salt.is_empty() {
            let salt: Vec<u32> = chunks.salt.bytes().map(u32::from).collect();
            parent = self.hasher.hash_block(&parent, &salt);
        }
        let hashes = self.hasher.hash_blocks_after(&parent, &chunks.ids, tokens);
        self.keys.clear();
        let span = chunks.from as usize..(chunks.to as usize).min(hashes.len());
        self.keys.extend(hashes[span].iter().map(|hash| ChunkHash(*hash)));
    }

    fn tier(&self, replica: u16, kind: TierKind) -> Option<Arc<dyn Tier>> {
        let of_kind = |tier: &&Arc<dyn Tier>| tier.kind() == kind;
        let local = self.config.local.get(usize::from(replica)).into_iter().flatten();
        local.chain(&self.config.store).find(of_kind).cloned()
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.config.deadline
    }

    fn carry(&mut self, job: &Job, kind: TransferKind, tier: TierKind) -> TransferOutcome {
        let Some(place) = self.tier(job.replica, tier) else { return TransferOutcome::Failed };
        let start = Instant::now();
        let copies_to = (self.config.keeps_copies_of == Some(tier))
            .then(|| self.config.local.get(usize::from(job.replica))?.first().cloned())
            .flatten();
        let arrived = match kind {
            TransferKind::Store => self.store(place.as_ref()),
            TransferKind::Load => self.load(place.as_ref(), copies_to.as_deref()),
        };
        let took = start.elapsed().as_nanos() as u64;
        let (nanos, failed) = match kind {
            TransferKind::Store => (&self.tally.store_nanos, &self.tally.failed_stores),
            TransferKind::Load => (&self.tally.load_nanos, &self.tally.failed_loads),
        };
        nanos[tier.index()].fetch_add(took, Ordering::Relaxed);
        failed.fetch_add(u64::from(!arrived), Ordering::Relaxed);
        if arrived { TransferOutcome::Ok } else { TransferOutcome::Failed }
    }

    /// Whether all chunks are in the tier now.
    fn store(&mut self, tier: &dyn Tier) -> bool {
        let deadline = self.deadline();
        self.keys.chunks(BATCH).all(|keys| {
            for (key, block) in keys.iter().zip(&mut self.blocks) {
                payload::fill(*key, block);
            }
            put(tier, keys, &self.blocks, deadline)
        })
    }

    /// Whether all chunks came, with their own bytes.
    fn load(&mut self, tier: &dyn Tier, copies_to: Option<&dyn Tier>) -> bool {
        let deadline = self.deadline();
        self.keys.chunks(BATCH).all(|keys| {
            let mut outcomes = [Fetched::Miss; BATCH];
            let outcomes = &mut outcomes[..keys.len()];
            let blocks = self.blocks.iter_mut();
            let mut gets: Vec<Get<'_>> =
                keys.iter().zip(blocks).map(|(key, into)| Get { key: *key, into }).collect();
            tier.get(&mut gets, deadline, outcomes);
            if outcomes.iter().any(|outcome| *outcome != Fetched::Hit) {
                return false;
            }
            let right = |(key, block): (&ChunkHash, &Block)| payload::holds(*key, block);
            let wrong = keys.iter().zip(&self.blocks).filter(|it| !right(*it)).count();
            self.tally.wrong.fetch_add(wrong as u64, Ordering::Relaxed);
            if wrong > 0 {
                return false;
            }
            if let Some(nearest) = copies_to {
                // Without room there the chunk is read from the store again.
                put(nearest, keys, &self.blocks, deadline);
            }
            true
        })
    }

    /// How many of the chunks the store has, from the first on.
    fn look(&self) -> u32 {
        let Some(store) = &self.config.store else { return 0 };
        let deadline = self.deadline();
        let mut found = 0;
        for keys in self.keys.chunks(KEYS) {
            let mut present = [false; KEYS];
            let present = &mut present[..keys.len()];
            // A store that does not answer has nothing; it counts its faults itself.
            if store.contains(keys, deadline, present).is_err() {
                break;
            }
            let here = present.iter().take_while(|it| **it).count();
            found += here as u32;
            if here < keys.len() {
                break;
            }
        }
        found
    }
}

fn put(tier: &dyn Tier, keys: &[ChunkHash], blocks: &[Block], deadline: Instant) -> bool {
    let mut outcomes = [Stored::Full; BATCH];
    let outcomes = &mut outcomes[..keys.len()];
    let puts: Vec<Put<'_>> =
        keys.iter().zip(blocks).map(|(key, bytes)| Put { key: *key, bytes }).collect();
    tier.put(&puts, deadline, outcomes);
    outcomes.iter().all(|outcome| matches!(outcome, Stored::Stored | Stored::Present))
}
