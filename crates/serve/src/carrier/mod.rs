//! Carries real bytes for the offload mechanism: the cluster decides what moves, threads here move
//! it between stand-in GPU memory and tiers (`weir-store`), and the cluster hears how it ended.
//!
//! The server's thread does no more than resolve token ids and put a job in line; names are hashed
//! and bytes are moved by workers. Lookups and loads, for which requests wait, go before stores.
//! What waits is bounded: stores beyond that are turned away, as a mechanism without memory would.

mod line;
mod payload;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use weir_cluster::Errand;
use weir_engine::{Slot, Transfer, TransferId, TransferKind, TransferOutcome};
use weir_model::{Piece, Prompt, TierKind, Tokens};
use weir_store::{Fault, Slab, Tier, TierCounters, TierError};

use self::line::Line;
use self::worker::Worker;
use crate::config::ServeError;
use crate::token_ids::TokenIds;

/// Blocks that a worker moves at once: what pipelining and queue depth have to work with.
pub const BATCH: usize = 8;
/// Longest time to empty all tiers.
const CLEARING: Duration = Duration::from_secs(30);

/// The tiers of a cluster, and how bytes are moved there.
#[derive(Clone)]
pub struct CarrierConfig {
    pub chunk_tokens: u32,
    /// Bytes that are moved for a chunk; the same in all tiers.
    pub block_bytes: usize,
    /// What was taken off the model's real bytes to get there: 1 for none.
    pub byte_scale: f64,
    /// Host memory and disk of each replica, nearest first.
    pub local: Vec<Vec<Arc<dyn Tier>>>,
    /// The store that all replicas share.
    pub store: Option<Arc<dyn Tier>>,
    /// Keep in the nearest tier what was loaded from this one: from the disk as vLLM's tiering
    /// does, or from the store as LMCache does.
    pub keeps_copies_of: Option<TierKind>,
    /// Threads that move bytes.
    pub workers: usize,
    /// Where bytes are on their way: [`BATCH`] blocks of `block_bytes` for each worker.
    pub slab: Arc<Slab>,
    /// Longest time of one transfer or lookup. What takes longer has failed.
    pub deadline: Duration,
}

impl fmt::Debug for CarrierConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CarrierConfig")
            .field("block_bytes", &self.block_bytes)
            .field("byte_scale", &self.byte_scale)
            .field("local", &self.local)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl CarrierConfig {
    /// The tiers of one kind: one per replica, or the store.
    fn of_kind(&self, kind: TierKind) -> impl Iterator<Item = &dyn Tier> {
        let all = self.local.iter().flatten().chain(&self.store).map(AsRef::as_ref);
        all.filter(move |tier: &&dyn Tier| tier.kind() == kind)
    }
}

/// What came of an errand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Transfer { replica: u16, id: TransferId, outcome: TransferOutcome },
    Lookup { replica: u16, slot: Slot, from_chunk: u32, found: u32 },
}

/// Something for a worker.
#[derive(Debug)]
struct Job {
    replica: u16,
    chunks: Chunks,
    task: Task,
}

#[derive(Debug)]
enum Task {
    Move { id: TransferId, kind: TransferKind, tier: TierKind },
    Look { slot: Slot },
    Let { tier: TierKind },
}

/// Chunks, by the token ids from the first one on.
#[derive(Debug)]
struct Chunks {
    ids: Vec<u32>,
    salt: String,
    from: u32,
    to: u32,
}

/// Times and failures that no tier counts, indexed by [`TierKind::index`] where they are of one.
#[derive(Debug, Default)]
struct Tally {
    store_nanos: [AtomicU64; 4],
    load_nanos: [AtomicU64; 4],
    /// Blocks whose bytes were not those of their chunk, though the tier said so.
    wrong: AtomicU64,
    /// Errands whose token ids nobody knows any more.
    unnamed: AtomicU64,
    /// Stores for which too much was waiting.
    turned_away: AtomicU64,
    failed_loads: AtomicU64,
    failed_stores: AtomicU64,
}

/// What the tiers of one kind did, over all replicas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TierState {
    pub(crate) kind: TierKind,
    pub(crate) counters: TierCounters,
    pub(crate) store_seconds: f64,
    pub(crate) load_seconds: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CarrierState {
    pub(crate) tiers: Vec<TierState>,
    pub(crate) block_bytes: u64,
    pub(crate) byte_scale: f64,
    pub(crate) wrong: u64,
    pub(crate) unnamed: u64,
    pub(crate) turned_away: u64,
    pub(crate) failed_loads: u64,
    pub(crate) failed_stores: u64,
}

/// The threads, and the line in front of them. Dropped, it lets them finish what they are at.
pub(crate) struct Carrier {
    config: Arc<CarrierConfig>,
    line: Arc<Line>,
    tally: Arc<Tally>,
    done: UnboundedSender<Done>,
    workers: Vec<JoinHandle<()>>,
}

impl Carrier {
    /// Starts the threads. What becomes of errands goes to `done`.
    pub(crate) fn start(
        config: CarrierConfig,
        done: UnboundedSender<Done>,
    ) -> Result<Self, ServeError> {
        let count = config.workers.max(1);
        if (config.slab.free_blocks() as usize) < count * BATCH {
            return Err(ServeError::Memory { workers: count, blocks: count * BATCH });
        }
        let slab = Arc::clone(&config.slab);
        let (config, line, tally) = (Arc::new(config), Arc::default(), Arc::default());
        let mut carrier = Self { config, line, tally, done, workers: Vec::with_capacity(count) };
        for number in 0..count {
            let blocks = std::iter::from_fn(|| slab.take()).take(BATCH).collect();
            let worker = Worker::new(
                Arc::clone(&carrier.config),
                Arc::clone(&carrier.tally),
                carrier.done.clone(),
                blocks,
            );
            let line = Arc::clone(&carrier.line);
            let thread = std::thread::Builder::new()
                .name(format!("weir-carry-{number}"))
                .spawn(move || worker.run(&line))
                .map_err(|source| ServeError::System { what: "start a thread", source })?;
            carrier.workers.push(thread);
        }
        Ok(carrier)
    }

    pub(crate) fn take(&self, errands: &mut Vec<Errand>, ids: &dyn TokenIds) {
        for errand in errands.drain(..) {
            match errand {
                Errand::Transfer { replica, transfer } => self.transfer(replica, &transfer, ids),
                Errand::Lookup { replica, lookup } => {
                    let task = Task::Look { slot: lookup.slot };
                    let span = (lookup.from_chunk, lookup.to_chunk);
                    match self.chunks(&lookup.tokens, span, ids) {
                        Some(chunks) => self.line.urgent(Job { replica, chunks, task }),
                        None => self.tell(Done::Lookup {
                            replica,
                            slot: lookup.slot,
                            from_chunk: lookup.from_chunk,
                            found: 0,
                        }),
                    }
                }
                Errand::Drop { replica, tier, gone } => {
                    let span = (gone.from_chunk, gone.to_chunk);
                    if let Some(chunks) = self.chunks_of(&gone.path, span, ids) {
                        self.line.release(Job { replica, chunks, task: Task::Let { tier } });
                    }
                }
            }
        }
    }

    fn transfer(&self, replica: u16, transfer: &Transfer, ids: &dyn TokenIds) {
        let Transfer { id, kind, tier, .. } = *transfer;
        let span = (transfer.from_chunk, transfer.to_chunk);
        let task = Task::Move { id, kind, tier };
        let job = self.chunks(&transfer.tokens, span, ids);
        let job = job.map(|chunks| Job { replica, chunks, task });
        let taken = match (job, kind) {
            (None, _) => false,
            (Some(job), TransferKind::Load) => {
                self.line.urgent(job);
                true
            }
            (Some(job), TransferKind::Store) => {
                let taken = self.line.store(job);
                self.tally.turned_away.fetch_add(u64::from(!taken), Ordering::Relaxed);
                taken
            }
        };
        if !taken {
            self.tell(Done::Transfer { replica, id, outcome: TransferOutcome::Failed });
        }
    }

    fn chunks(&self, tokens: &Prompt, span: (u32, u32), ids: &dyn TokenIds) -> Option<Chunks> {
        let tokens = tokens.truncated(Tokens(span.1 * self.config.chunk_tokens));
        self.chunks_of(tokens.pieces(), span, ids)
    }

    /// Token ids up to the end of a span of chunks; nothing where they are forgotten.
    fn chunks_of(
        &self,
        path: &[Piece],
        (from, to): (u32, u32),
        ids: &dyn TokenIds,
    ) -> Option<Chunks> {
        let mut known = Vec::with_capacity((to * self.config.chunk_tokens) as usize);
        if !ids.append_token_ids(path, &mut known) {
            self.tally.unnamed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let salt = ids.cache_salt(path).unwrap_or_default().to_owned();
        Some(Chunks { ids: known, salt, from, to })
    }

    /// Empties the tiers and what the store has of this arm's layout. To be called while nothing is
    /// under way.
    pub(crate) fn clear(&self) -> Result<(), TierError> {
        let deadline = Instant::now() + CLEARING;
        let mut tiers = self.config.local.iter().flatten().chain(&self.config.store);
        tiers.try_for_each(|tier| tier.clear(deadline))
    }

    fn tell(&self, done: Done) {
        // Nobody listens any more when the server ends.
        let _ = self.done.send(done);
    }

    pub(crate) fn state(&self) -> CarrierState {
        let seconds = |nanos: &AtomicU64| nanos.load(Ordering::Relaxed) as f64 / 1e9;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let tiers = TierKind::ALL.into_iter().filter_map(|kind| {
            let counters = self.config.of_kind(kind).map(Tier::counters).reduce(sum)?;
            Some(TierState {
                kind,
                counters,
                store_seconds: seconds(&self.tally.store_nanos[kind.index()]),
                load_seconds: seconds(&self.tally.load_nanos[kind.index()]),
            })
        });
        CarrierState {
            tiers: tiers.collect(),
            block_bytes: self.config.block_bytes as u64,
            byte_scale: self.config.byte_scale,
            wrong: count(&self.tally.wrong),
            unnamed: count(&self.tally.unnamed),
            turned_away: count(&self.tally.turned_away),
            failed_loads: count(&self.tally.failed_loads),
            failed_stores: count(&self.tally.failed_stores),
        }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.line.close();
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so on stderr; there is nobody else to tell.
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

/// The names of all faults, in the order of [`TierCounters::faults`].
pub(crate) fn fault_names() -> impl Iterator<Item = &'static str> {
    Fault::ALL.into_iter().map(Fault::name)
}
