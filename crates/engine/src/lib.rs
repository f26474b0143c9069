//! One inference engine as a stepped machine. The caller supplies `now` and consumes the effects.

pub mod config;
pub mod effects;
pub mod offload;
pub mod pool;
mod running;
pub mod scheduler;
mod sequence;
pub mod timing;

pub use effects::{
    Counters, Effects, Finished, Lookup, Slot, Transfer, TransferId, TransferKind, TransferOutcome,
};
pub use weir_tier::chunk_cache::Eviction;

pub use scheduler::{BlocksInUse, Engine, SubmitError};

pub use config::{ChunkBytes, EngineConfig, LoadMode, OffloadConfig, TimingConfig};
