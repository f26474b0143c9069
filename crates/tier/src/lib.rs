//! Policies of KV tiers below the GPU: chunks, eviction, capacity, links and modelled tiers.
//!
//! No bytes, no I/O and no clock: the caller supplies `now`.

pub mod chunk_cache;
pub mod config;
pub mod keyed_cache;
pub mod link;
mod order;
pub mod recency;
pub mod remote;

pub use config::{EvictionPolicy, LinkConfig, StoreConfig, TierConfig};
pub use keyed_cache::KeyedCache;
