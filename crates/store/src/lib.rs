//! KV bytes: slabs of blocks, host memory, disks and RESP stores, with their faults.
//!
//! A [`Tier`] keeps blocks of one size under the hashes of their chunks. Calls are blocking and
//! take batches: a batch is what one request loads or stores, and gives pipelining and queue depth.
//! Further concurrency is further threads. Every call has a deadline. A failure is an outcome of
//! its block and a counter, never a panic, a hang or a wrong byte.

pub mod checked;
pub mod disk;
pub mod held;
mod held_in;
pub mod memory;
pub mod resp;
pub mod server;
pub mod single_flight;
pub mod slab;
#[cfg(feature = "suite")]
pub mod suite;
mod tally;
pub mod tier;

pub use checked::Checked;
pub use disk::{DiskError, DiskFolder, DiskOptions, DiskTier, EngineChoice};
pub use held_in::{drop_page_cache, held_in};
pub use memory::{MemoryOptions, MemoryTier};
pub use resp::{
    Address, KeyLayout, RespError, RespOptions, RespTier, StoreClient, StoreEndpoint, StoreReport,
};
pub use single_flight::{SharingOptions, SingleFlight};
pub use slab::{Block, Pages, Slab, SlabError, available_memory};
pub use tier::{
    ChunkHash, Get, Loaded, Put, Stored, Tier, TierCounters, TierError, TierFault, TierUsage,
};
