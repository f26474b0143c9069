//! A disk of this machine: a file of slots, past the page cache, through `io_uring` or threads.
//!
//! A tier is a folder with two files: blocks, and headers with each slot's block and checksum. A
//! block without a valid header does not exist, so the process may be killed at any moment. Every
//! load compares the checksum. The folder is locked while in use. Blocks survive the process and
//! are found again by a tier with the same layout.
//!
//! Buffers at multiples of [`ALIGNMENT`](crate::slab::ALIGNMENT) are read and written in place;
//! others are copied through a bounce buffer.
//!
//! A deadline ends a call between two blocks. Blocks in flight are waited for, because the kernel
//! uses the caller's memory until then; a device that never answers blocks the call.

mod batch;
mod engine;
mod error;
mod flight;
mod header;
mod place;
mod ring;
mod slots;
mod threads;
mod trouble;

use std::fmt;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use weir_model::{Bytes, TierKind};
use weir_tier::EvictionPolicy;

use crate::slab::{ALIGNMENT, BLOCK_BYTES_MAX, Slab};
use crate::tally::TierTally;
use crate::tier::{
    ChunkHash, Get, Loaded, Put, Stored, Tier, TierCounters, TierError, TierFault, TierUsage,
};

use batch::Work;
use engine::IoContexts;
use header::FileLayout;
use place::Place;
use slots::Slots;
use trouble::Trouble;

pub use engine::{DiskEngine, EngineKind};
pub use error::DiskError;
pub use place::{BLOCKS_FILE, DiskFolder, HEADERS_FILE};
pub use slots::Recovered;

/// Largest queue of one call: beyond this devices gain nothing.
const DEPTH_MAX: u16 = 1024;
/// Most concurrent calls: each has a ring.
const LANES_MAX: u16 = 256;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// `io_uring`, or threads if the kernel or a filter denies it.
    #[default]
    Auto,
    IoUring,
    Threads,
}

#[derive(Debug, Clone)]
pub struct DiskOptions {
    pub folder: PathBuf,
    /// Blocks; their space is reserved at opening.
    pub capacity: u32,
    pub block_bytes: usize,
    pub eviction: EvictionPolicy,
    /// Requests in flight per call, 1 to 1024; with threads, of all calls together.
    pub depth: u16,
    /// Concurrent calls, 1 to 256; the others wait.
    pub lanes: u16,
    /// Calls that may wait; the others fail with [`TierFault::Busy`].
    pub waiting_max: u16,
    pub engine: EngineChoice,
    /// Uses the page cache on purpose, as tiers without `O_DIRECT` do.
    pub page_cache: bool,
    /// Whether the page cache is dropped between loads, so that none is answered from it.
    pub cooled: bool,
    /// Memory of the caller's blocks, registered with the kernel.
    pub slab: Option<Arc<Slab>>,
    /// Drops the folder's content, whatever layout it has.
    pub start_empty: bool,
}

impl DiskOptions {
    /// LRU, 16 requests in flight, four concurrent calls; existing content is kept.
    pub fn new(folder: impl Into<PathBuf>, capacity: u32, block_bytes: usize) -> Self {
        Self {
            folder: folder.into(),
            capacity,
            block_bytes,
            eviction: EvictionPolicy::Lru,
            depth: 16,
            lanes: 4,
            waiting_max: 256,
            engine: EngineChoice::Auto,
            page_cache: false,
            cooled: false,
            slab: None,
            start_empty: false,
        }
    }

    fn layout(&self) -> Result<FileLayout, DiskError> {
        let wrong =
            |problem: String| Err(DiskError::Options { folder: self.folder.clone(), problem });
        if self.capacity == 0 || self.block_bytes == 0 || self.block_bytes > BLOCK_BYTES_MAX {
            let (blocks, bytes) = (self.capacity, self.block_bytes);
            return wrong(format!(
                "{blocks} blocks of {bytes} bytes: give at least one block, of 1 byte to 1 GiB"
            ));
        }
        if !(1..=DEPTH_MAX).contains(&self.depth) {
            return wrong(format!("depth {}: give 1 to {DEPTH_MAX}", self.depth));
        }
        if !(1..=LANES_MAX).contains(&self.lanes) {
            return wrong(format!("lanes {}: give 1 to {LANES_MAX}", self.lanes));
        }
        let stride = self.block_bytes.next_multiple_of(ALIGNMENT) as u64;
        Ok(FileLayout { block_bytes: self.block_bytes as u64, stride, slots: self.capacity })
    }
}

pub struct DiskTier {
    // Dropped in this order: no request is in flight when the files close.
    contexts: IoContexts,
    slots: Slots,
    blocks: Arc<File>,
    blocks_path: PathBuf,
    folder: PathBuf,
    block_bytes: usize,
    engine: DiskEngine,
    recovered: Recovered,
    warnings: Vec<String>,
    trouble: Trouble,
    tally: TierTally,
}

impl fmt::Debug for DiskTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskTier")
            .field("folder", &self.folder)
            .field("layout", self.slots.layout())
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

impl DiskTier {
    pub fn open(options: &DiskOptions) -> Result<Self, DiskError> {
        let layout = options.layout()?;
        let Place { blocks, blocks_path, headers, blocks_len, direct, warnings } =
            Place::open(options, &layout)?;
        let (slots, recovered) = Slots::open(headers, layout, blocks_len, options.eviction)
            .map_err(|error| DiskError::System {
                path: options.folder.join(HEADERS_FILE),
                action: "read the headers",
                errno: rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO),
                remedy: "look at the kernel's log, or start empty",
            })?;
        let (contexts, engine) = IoContexts::open(options, &blocks, direct)?;
        Ok(Self {
            contexts,
            slots,
            blocks,
            trouble: Trouble::new(blocks_path.clone()),
            blocks_path,
            folder: options.folder.clone(),
            block_bytes: options.block_bytes,
            engine,
            recovered,
            warnings,
            tally: TierTally::default(),
        })
    }

    pub const fn engine(&self) -> &DiskEngine {
        &self.engine
    }

    pub const fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// Reasons why this tier's figures may not be a disk's.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub fn trouble(&self) -> Option<String> {
        self.trouble.last()
    }

    fn work(&self) -> Work<'_> {
        Work { slots: &self.slots, trouble: &self.trouble, direct: self.engine.direct }
    }

    fn error(&self, fault: TierFault, problem: String) -> TierError {
        self.tally.fault(fault);
        TierError { fault, place: self.place(), problem }
    }

    fn failed(&self, action: &str, error: &std::io::Error) -> TierError {
        let errno = rustix::io::Errno::from_io_error(error).unwrap_or(rustix::io::Errno::IO);
        self.error(TierFault::Io, format!("{action}: {errno}: {}", place::remedy(errno)))
    }

    fn late(&self, action: &str) -> TierError {
        self.error(TierFault::Timeout, format!("{action}: the deadline passed: allow more time"))
    }

    /// Blocks in an unlinked file are lost on close.
    fn check_file(&self) -> Result<(), TierError> {
        let ours =
            self.blocks.metadata().map_err(|error| self.failed("ask for the file", &error))?;
        let named = std::fs::metadata(&self.blocks_path);
        let same = named.is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino()));
        if same && ours.len() >= self.slots.layout().block_file_bytes() {
            return Ok(());
        }
        let (what, path) = (if same { "cut" } else { "removed" }, self.blocks_path.display());
        let problem = format!("{path} was {what} while in use: stop the tier and open it again");
        Err(self.error(TierFault::Io, problem))
    }
}

impl Tier for DiskTier {
    fn kind(&self) -> TierKind {
        TierKind::Disk
    }

    fn place(&self) -> String {
        self.folder.display().to_string()
    }

    fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    fn put(&self, puts: &[Put<'_>], deadline: Instant, outcomes: &mut [Stored]) {
        let work = self.work();
        let done =
            self.contexts.with(deadline, |context| work.put(context, puts, deadline, outcomes));
        if let Err(fault) = done {
            outcomes.fill(Stored::Failed(fault));
        }
        let mut cache = self.slots.cache();
        for put in puts.iter().rev() {
            cache.renew(&put.key);
        }
        drop(cache);
        self.tally.puts(outcomes);
    }

    fn get(&self, gets: &mut [Get<'_>], deadline: Instant, outcomes: &mut [Loaded]) {
        let work = self.work();
        let done =
            self.contexts.with(deadline, |context| work.get(context, gets, deadline, outcomes));
        if let Err(fault) = done {
            outcomes.fill(Loaded::Failed(fault));
        }
        let mut cache = self.slots.cache();
        for (get, _) in gets.iter().zip(&*outcomes).rev().filter(|(_, o)| **o == Loaded::Hit) {
            cache.touch(&get.key);
        }
        drop(cache);
        self.tally.gets(outcomes);
    }

    fn contains(
        &self,
        keys: &[ChunkHash],
        _deadline: Instant,
        present: &mut [bool],
    ) -> Result<(), TierError> {
        let mut cache = self.slots.cache();
        for (key, present) in keys.iter().zip(present).rev() {
            *present = cache.renew(key);
        }
        Ok(())
    }

    fn remove(&self, keys: &[ChunkHash], deadline: Instant) -> Result<(), TierError> {
        for key in keys {
            if Instant::now() >= deadline {
                return Err(self.late("remove"));
            }
            self.slots.remove(key).map_err(|error| self.failed("erase a header", &error))?;
        }
        Ok(())
    }

    fn clear(&self, deadline: Instant) -> Result<(), TierError> {
        match self.slots.clear(deadline) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.late("clear")),
            Err(error) => Err(self.failed("erase a header", &error)),
        }
    }

    fn usage(&self, _deadline: Instant) -> Result<TierUsage, TierError> {
        self.check_file()?;
        let cache = self.slots.cache();
        let block = self.block_bytes as u64;
        Ok(TierUsage {
            chunks: u64::from(cache.blocks()),
            used: Bytes(u64::from(cache.used()) * block),
            capacity: Some(Bytes(u64::from(cache.capacity()) * block)),
            evicted_chunks: cache.evicted(),
        })
    }

    fn counters(&self) -> TierCounters {
        self.tally.read()
    }
}
