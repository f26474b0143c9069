//! Real I/O for the offload mechanism. The cluster decides what moves, worker threads move it
//! between stand-in GPU memory and tiers (`weir-store`), and the cluster gets the outcomes.
//!
//! The server's thread resolves token ids and queues jobs. Lookups and loads go first, because
//! requests wait for them. The queue of stores is bounded; further ones are rejected, as by a
//! mechanism without free buffers.

mod payload;
mod queue;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use weir_cluster::IoRequest;
use weir_engine::{Slot, Transfer, TransferId, TransferKind, TransferOutcome};
use weir_model::{Piece, Prompt, TierKind, Tokens};
use weir_store::{Slab, Tier, TierCounters, TierError, TierFault};

use self::queue::{Chunks, Job, JobQueue, Task};
use self::worker::Worker;
use crate::token_ids::TokenIds;

/// Blocks per call of a tier.
pub const BATCH: usize = 8;
const CLEAR_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct MoverConfig {
    pub chunk_tokens: u32,
    /// Per chunk; equal in all tiers.
    pub block_bytes: usize,
    /// Bytes moved per byte of the model's KV; 1 without scaling.
    pub byte_scale: f64,
    /// Host memory and disk of each replica, nearest first.
    pub local: Vec<Vec<Arc<dyn Tier>>>,
    pub store: Option<Arc<dyn Tier>>,
    /// Loads from this tier are copied to the nearest one: from disk as in vLLM's tiering, or from
    /// the store as in LMCache.
    pub keeps_copies_of: Option<TierKind>,
    pub workers: usize,
    /// [`BATCH`] blocks of `block_bytes` per worker.
    pub slab: Arc<Slab>,
    /// Limit of one transfer or lookup.
    pub deadline: Duration,
}

impl fmt::Debug for MoverConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MoverConfig")
            .field("block_bytes", &self.block_bytes)
            .field("byte_scale", &self.byte_scale)
            .field("local", &self.local)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl MoverConfig {
    /// One per replica, or the store.
    fn tiers_of(&self, kind: TierKind) -> impl Iterator<Item = &dyn Tier> {
        let all = self.local.iter().flatten().chain(&self.store).map(AsRef::as_ref);
        all.filter(move |tier: &&dyn Tier| tier.kind() == kind)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MoverError {
    #[error("{workers} workers need a slab with {blocks} free blocks; give them a larger one")]
    Memory { workers: usize, blocks: usize },
    #[error("cannot start a thread: {0}; free resources of this machine and try again")]
    Thread(#[source] std::io::Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completion {
    Transfer { replica: u16, id: TransferId, outcome: TransferOutcome },
    Lookup { replica: u16, slot: Slot, from_chunk: u32, found: u32 },
}

/// Indexed by [`TierKind::index`].
#[derive(Debug, Default)]
struct MoverCounters {
    store_nanos: [AtomicU64; 4],
    load_nanos: [AtomicU64; 4],
    /// Loads with the bytes of another chunk.
    wrong_blocks: AtomicU64,
    /// Jobs with forgotten token ids.
    unknown_tokens: AtomicU64,
    rejected_stores: AtomicU64,
    failed_loads: AtomicU64,
    failed_stores: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TierState {
    pub(crate) kind: TierKind,
    pub(crate) counters: TierCounters,
    pub(crate) store_seconds: f64,
    pub(crate) load_seconds: f64,
}

/// Dropping it waits for the jobs in progress.
pub(crate) struct Mover {
    config: Arc<MoverConfig>,
    queue: Arc<JobQueue>,
    counters: Arc<MoverCounters>,
    done: UnboundedSender<Completion>,
    workers: Vec<JoinHandle<()>>,
}

impl Mover {
    /// `done` gets every outcome.
    pub(crate) fn start(
        config: MoverConfig,
        done: UnboundedSender<Completion>,
    ) -> Result<Self, MoverError> {
        let count = config.workers.max(1);
        if (config.slab.free_blocks() as usize) < count * BATCH {
            return Err(MoverError::Memory { workers: count, blocks: count * BATCH });
        }
        let slab = Arc::clone(&config.slab);
        let (config, queue, counters) = (Arc::new(config), Arc::default(), Arc::default());
        let mut mover = Self { config, queue, counters, done, workers: Vec::with_capacity(count) };
        for number in 0..count {
            let blocks = std::iter::from_fn(|| slab.take()).take(BATCH).collect();
            let worker = Worker::new(
                Arc::clone(&mover.config),
                Arc::clone(&mover.counters),
                mover.done.clone(),
                blocks,
            );
            let queue = Arc::clone(&mover.queue);
            let thread = std::thread::Builder::new()
                .name(format!("weir-mover-{number}"))
                .spawn(move || worker.run(&queue))
                .map_err(MoverError::Thread)?;
            mover.workers.push(thread);
        }
        Ok(mover)
    }

    pub(crate) fn submit(&self, io_requests: &mut Vec<IoRequest>, ids: &dyn TokenIds) {
        for request in io_requests.drain(..) {
            match request {
                IoRequest::Transfer { replica, transfer } => self.transfer(replica, &transfer, ids),
                IoRequest::Lookup { replica, lookup } => {
                    let task = Task::Lookup { slot: lookup.slot };
                    let span = (lookup.from_chunk, lookup.to_chunk);
                    match self.chunks(&lookup.tokens, span, ids) {
                        Some(chunks) => self.queue.push_urgent(Job { replica, chunks, task }),
                        None => self.complete(Completion::Lookup {
                            replica,
                            slot: lookup.slot,
                            from_chunk: lookup.from_chunk,
                            found: 0,
                        }),
                    }
                }
                IoRequest::Drop { replica, tier, eviction } => {
                    let span = (eviction.from_chunk, eviction.to_chunk);
                    if let Some(chunks) = self.chunks_of(&eviction.path, span, ids) {
                        self.queue.push_removal(Job {
                            replica,
                            chunks,
                            task: Task::Remove { tier },
                        });
                    }
                }
            }
        }
    }

    fn transfer(&self, replica: u16, transfer: &Transfer, ids: &dyn TokenIds) {
        let Transfer { id, kind, tier, .. } = *transfer;
        let span = (transfer.from_chunk, transfer.to_chunk);
        let task = Task::Transfer { id, kind, tier };
        let job = self.chunks(&transfer.tokens, span, ids);
        let job = job.map(|chunks| Job { replica, chunks, task });
        let queued = match (job, kind) {
            (None, _) => false,
            (Some(job), TransferKind::Load) => {
                self.queue.push_urgent(job);
                true
            }
            (Some(job), TransferKind::Store) => {
                let queued = self.queue.push_store(job);
                self.counters.rejected_stores.fetch_add(u64::from(!queued), Ordering::Relaxed);
                queued
            }
        };
        if !queued {
            self.complete(Completion::Transfer { replica, id, outcome: TransferOutcome::Failed });
        }
    }

    fn chunks(&self, tokens: &Prompt, span: (u32, u32), ids: &dyn TokenIds) -> Option<Chunks> {
        let tokens = tokens.truncated(Tokens(span.1 * self.config.chunk_tokens));
        self.chunks_of(tokens.pieces(), span, ids)
    }

    /// None: the interner has forgotten the token ids.
    fn chunks_of(
        &self,
        path: &[Piece],
        (from, to): (u32, u32),
        ids: &dyn TokenIds,
    ) -> Option<Chunks> {
        let mut known_ids = Vec::with_capacity((to * self.config.chunk_tokens) as usize);
        if !ids.append_token_ids(path, &mut known_ids) {
            self.counters.unknown_tokens.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let salt = ids.cache_salt(path).unwrap_or_default().to_owned();
        Some(Chunks { ids: known_ids, salt, from, to })
    }

    /// Empties the tiers, and this arm's keys in the store. No job may be in progress.
    pub(crate) fn clear(&self) -> Result<(), TierError> {
        let deadline = Instant::now() + CLEAR_TIMEOUT;
        let mut tiers = self.config.local.iter().flatten().chain(&self.config.store);
        tiers.try_for_each(|tier| tier.clear(deadline))
    }

    fn complete(&self, completion: Completion) {
        let _ = self.done.send(completion);
    }

    pub(crate) fn config(&self) -> &MoverConfig {
        &self.config
    }

    pub(crate) fn tiers(&self) -> impl Iterator<Item = TierState> {
        let seconds = |nanos: &AtomicU64| nanos.load(Ordering::Relaxed) as f64 / 1e9;
        TierKind::ALL.into_iter().filter_map(move |kind| {
            Some(TierState {
                kind,
                counters: self.config.tiers_of(kind).map(Tier::counters).reduce(sum)?,
                store_seconds: seconds(&self.counters.store_nanos[kind.index()]),
                load_seconds: seconds(&self.counters.load_nanos[kind.index()]),
            })
        })
    }

    /// Failures that the tiers do not count, by name on the metrics page.
    pub(crate) fn failures(&self) -> [(&'static str, u64); 5] {
        let counters = &self.counters;
        [
            ("failed_load", &counters.failed_loads),
            ("failed_store", &counters.failed_stores),
            ("turned_away_store", &counters.rejected_stores),
            ("unnamed", &counters.unknown_tokens),
            ("wrong_block", &counters.wrong_blocks),
        ]
        .map(|(name, counter)| (name, counter.load(Ordering::Relaxed)))
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.queue.close();
        for worker in self.workers.drain(..) {
            // A worker that panicked has printed its message.
            let _ = worker.join();
        }
    }
}

fn sum(one: TierCounters, other: TierCounters) -> TierCounters {
    let mut faults = one.faults;
    for (fault, more) in faults.iter_mut().zip(other.faults) {
        *fault += more;
    }
    TierCounters {
        stored: one.stored + other.stored,
        present: one.present + other.present,
        full: one.full + other.full,
        hits: one.hits + other.hits,
        misses: one.misses + other.misses,
        corrupt: one.corrupt + other.corrupt,
        faults,
    }
}

pub(crate) fn fault_names() -> impl Iterator<Item = &'static str> {
    TierFault::ALL.into_iter().map(TierFault::name)
}
