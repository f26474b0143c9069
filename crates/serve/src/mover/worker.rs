use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;
use weir_engine::{TransferKind, TransferOutcome};
use weir_model::TierKind;
use weir_model::block::{BlockHasher, ServerHasher};
use weir_store::slab::Block;
use weir_store::{ChunkHash, Get, Loaded, Put, Stored, Tier};

use super::queue::{Chunks, Job, JobQueue, Task};
use super::{BATCH, Completion, MoverConfig, MoverCounters, payload};

/// Keys per call of a lookup, which stops at the first missing chunk.
const LOOKUP_KEYS: usize = 32;

pub(super) struct Worker {
    config: Arc<MoverConfig>,
    counters: Arc<MoverCounters>,
    done: UnboundedSender<Completion>,
    hasher: ServerHasher,
    blocks: Vec<Block>,
    keys: Vec<ChunkHash>,
}

impl Worker {
    pub(super) fn new(
        config: Arc<MoverConfig>,
        counters: Arc<MoverCounters>,
        done: UnboundedSender<Completion>,
        blocks: Vec<Block>,
    ) -> Self {
        Self { config, counters, done, hasher: ServerHasher::new(), blocks, keys: Vec::new() }
    }

    pub(super) fn run(mut self, queue: &JobQueue) {
        while let Some(job) = queue.next() {
            self.hash_keys(&job.chunks);
            let completion = match job.task {
                Task::Transfer { id, kind, tier } => {
                    let outcome = self.transfer(&job, kind, tier);
                    Some(Completion::Transfer { replica: job.replica, id, outcome })
                }
                Task::Lookup { slot } => Some(Completion::Lookup {
                    replica: job.replica,
                    slot,
                    from_chunk: job.chunks.from,
                    found: self.lookup(),
                }),
                Task::Remove { tier } => {
                    if let Some(tier) = self.tier(job.replica, tier) {
                        // The tier evicts a chunk that stays by itself later.
                        let _ = tier.remove(&self.keys, self.deadline());
                    }
                    None
                }
            };
            if let Some(completion) = completion {
                let _ = self.done.send(completion);
            }
        }
    }

    /// Chunk hashes by the chain of LMCache's server. A salt changes them all.
    fn hash_keys(&mut self, chunks: &Chunks) {
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

    fn transfer(&mut self, job: &Job, kind: TransferKind, tier: TierKind) -> TransferOutcome {
        let Some(target) = self.tier(job.replica, tier) else { return TransferOutcome::Failed };
        let start = Instant::now();
        let copies_to = (self.config.keeps_copies_of == Some(tier))
            .then(|| self.config.local.get(usize::from(job.replica))?.first().cloned())
            .flatten();
        let complete = match kind {
            TransferKind::Store => self.store(target.as_ref()),
            TransferKind::Load => self.load(target.as_ref(), copies_to.as_deref()),
        };
        let took = start.elapsed().as_nanos() as u64;
        let (nanos, failed) = match kind {
            TransferKind::Store => (&self.counters.store_nanos, &self.counters.failed_stores),
            TransferKind::Load => (&self.counters.load_nanos, &self.counters.failed_loads),
        };
        nanos[tier.index()].fetch_add(took, Ordering::Relaxed);
        failed.fetch_add(u64::from(!complete), Ordering::Relaxed);
        if complete { TransferOutcome::Ok } else { TransferOutcome::Failed }
    }

    /// True if the tier has all chunks now.
    fn store(&mut self, tier: &dyn Tier) -> bool {
        let deadline = self.deadline();
        self.keys.chunks(BATCH).all(|keys| {
            for (key, block) in keys.iter().zip(&mut self.blocks) {
                payload::fill(*key, block);
            }
            put(tier, keys, &self.blocks, deadline)
        })
    }

    /// True if all chunks were loaded with the right bytes.
    fn load(&mut self, tier: &dyn Tier, copies_to: Option<&dyn Tier>) -> bool {
        let deadline = self.deadline();
        self.keys.chunks(BATCH).all(|keys| {
            let mut outcomes = [Loaded::Miss; BATCH];
            let outcomes = &mut outcomes[..keys.len()];
            let blocks = self.blocks.iter_mut();
            let mut gets: Vec<Get<'_>> =
                keys.iter().zip(blocks).map(|(key, into)| Get { key: *key, into }).collect();
            tier.get(&mut gets, deadline, outcomes);
            if outcomes.iter().any(|outcome| *outcome != Loaded::Hit) {
                return false;
            }
            let right = |(key, block): (&ChunkHash, &Block)| payload::holds(*key, block);
            let wrong = keys.iter().zip(&self.blocks).filter(|it| !right(*it)).count();
            self.counters.wrong_blocks.fetch_add(wrong as u64, Ordering::Relaxed);
            if wrong > 0 {
                return false;
            }
            if let Some(nearest) = copies_to {
                // A full tier drops the copy; the next load reads the store again.
                put(nearest, keys, &self.blocks, deadline);
            }
            true
        })
    }

    /// Consecutive chunks in the store, from the first key on.
    fn lookup(&self) -> u32 {
        let Some(store) = &self.config.store else { return 0 };
        let deadline = self.deadline();
        let mut found = 0;
        for keys in self.keys.chunks(LOOKUP_KEYS) {
            let mut present = [false; LOOKUP_KEYS];
            let present = &mut present[..keys.len()];
            // A failed store has no chunks; the tier counts its faults.
            if store.contains(keys, deadline, present).is_err() {
                break;
            }
            let hits = present.iter().take_while(|it| **it).count();
            found += hits as u32;
            if hits < keys.len() {
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
