//! What a tier is, resolved: capacity, eviction and the link that leads to it.

use serde::{Deserialize, Serialize};
use weir_model::{Bytes, Nanos, Product, TierKind};

/// Which chunk goes first when a tier is full.
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum EvictionPolicy {
    /// Least recently used.
    #[default]
    Lru,
    /// Adaptive replacement (recency and frequency with ghost lists).
    Arc,
    /// Nothing is evicted: a full tier refuses stores (Kvrocks, `maxmemory-policy noeviction`).
    None,
}

/// A path for bytes in both directions: `time = base latency + copies * per_copy + bytes / rate`,
/// first in, first out per direction and lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkConfig {
    /// Fixed time before the first byte of a transfer.
    pub base_latency: Nanos,
    /// Issue cost of each contiguous copy.
    pub per_copy: Nanos,
    /// Bytes per second towards the GPU.
    pub read_bytes_per_s: f64,
    /// Bytes per second away from the GPU.
    pub write_bytes_per_s: f64,
    /// Transfers that proceed at once, each at `rate / lanes`.
    pub lanes: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierConfig {
    /// Host or disk (a remote store is a [`StoreConfig`]).
    pub kind: TierKind,
    /// Bytes it may hold, over all ranks of the replica.
    pub capacity: Bytes,
    pub policy: EvictionPolicy,
    /// The link between this tier and the GPU.
    pub link: LinkConfig,
}

/// A remote store, shared by all replicas of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    pub product: Product,
    /// Bytes it may hold.
    pub capacity: Bytes,
    pub policy: EvictionPolicy,
    /// The store's own limits, shared by all replicas.
    pub link: LinkConfig,
    /// The replica's own network share towards it, bytes per second in each direction.
    pub client_bytes_per_s: f64,
    /// Time of one lookup round trip.
    pub lookup_latency: Nanos,
    /// Added per key that the lookup asks for.
    pub lookup_per_key: Nanos,
}
