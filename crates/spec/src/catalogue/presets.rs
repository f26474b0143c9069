//! Arm presets, under the names of the field's published evaluations.

use weir_model::{Bytes, Product, Software};
use weir_tier::EvictionPolicy;

use crate::plan::ArmRole;

/// Software and tiers of an arm's offload, with their sizes where the file gives none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffloadPreset {
    pub software: Software,
    /// Host memory; of LMCache, on each rank that keeps blocks.
    pub host: Bytes,
    pub chunk: ChunkLength,
    pub disk: Option<DiskPreset>,
    /// The remote store behind, with the figures of its product's profile.
    pub store: Option<Product>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkLength {
    Blocks(u32),
    /// Rounded up to whole blocks.
    Tokens(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskPreset {
    pub capacity: Bytes,
    pub policy: EvictionPolicy,
}

/// Routing that a preset brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoutingKind {
    Shared,
    Random,
    /// llm-d's approximate prefix scorer.
    Approximate,
    /// llm-d's precise prefix scorer over an index: in-memory, redis or valkey.
    Precise(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    pub name: &'static str,
    /// Its part in comparisons.
    pub role: ArmRole,
    /// One line for lists and reports.
    pub description: &'static str,
    /// Nothing for the GPU's prefix cache alone.
    pub offload: Option<OffloadPreset>,
    pub routing: RoutingKind,
}

/// Host memory of `native-offload` where the file says nothing (vLLM itself demands a size).
pub const NATIVE_BYTES: Bytes = Bytes::from_gib(64);
/// Host memory of `native-fs` before the file system.
pub const NATIVE_FS_HOST_BYTES: Bytes = Bytes::from_gib(16);
/// File system of `native-fs`, which vLLM never empties.
pub const NATIVE_FS_BYTES: Bytes = Bytes(1_000_000_000_000);
/// LMCache's own default, `max_local_cpu_size` 5.0. It is taken by each rank that keeps blocks, and
/// in GiB, whatever its documentation says (`lmcache/v1/cache_engine.py` multiplies by `1024**3`).
pub const LMCACHE_BYTES_PER_RANK: Bytes = Bytes::from_gib(5);
/// Disk of `lmcache-disk`; LMCache's own default is 0, which stores nothing.
pub const LMCACHE_DISK_BYTES: Bytes = Bytes(100_000_000_000);
pub const STORE_BYTES: Bytes = Bytes::from_gib(64);
pub const LMCACHE_CHUNK_TOKENS: u32 = 256;
/// A file of `native-fs` in blocks: small files would be lost in the disk's latency.
pub const NATIVE_FS_CHUNK_BLOCKS: u32 = 16;

/// vLLM's `OffloadingConnector` to host memory.
const NATIVE: OffloadPreset = OffloadPreset {
    software: Software::Vllm,
    host: NATIVE_BYTES,
    chunk: ChunkLength::Blocks(1),
    disk: None,
    store: None,
};

/// The same with a file system behind.
const NATIVE_FS: OffloadPreset = OffloadPreset {
    host: NATIVE_FS_HOST_BYTES,
    chunk: ChunkLength::Blocks(NATIVE_FS_CHUNK_BLOCKS),
    // vLLM never deletes a file.
    disk: Some(DiskPreset { capacity: NATIVE_FS_BYTES, policy: EvictionPolicy::None }),
    ..NATIVE
};

/// LMCache in host memory.
const LMCACHE: OffloadPreset = OffloadPreset {
    software: Software::Lmcache,
    host: LMCACHE_BYTES_PER_RANK,
    chunk: ChunkLength::Tokens(LMCACHE_CHUNK_TOKENS),
    disk: None,
    store: None,
};

const LMCACHE_DISK: OffloadPreset = OffloadPreset {
    disk: Some(DiskPreset { capacity: LMCACHE_DISK_BYTES, policy: EvictionPolicy::Lru }),
    ..LMCACHE
};

const fn before(store: Product) -> OffloadPreset {
    OffloadPreset { store: Some(store), ..LMCACHE }
}

const fn offload(name: &'static str, description: &'static str, offload: OffloadPreset) -> Preset {
    let role = ArmRole::Treatment;
    Preset { name, role, description, offload: Some(offload), routing: RoutingKind::Shared }
}

const fn routing(name: &'static str, description: &'static str, routing: RoutingKind) -> Preset {
    let role = ArmRole::Treatment;
    Preset { name, role, description, offload: None, routing }
}

pub const ALL: [Preset; 14] = [
    Preset {
        name: "no-offload",
        role: ArmRole::Control,
        description: "the GPU's prefix cache alone",
        offload: None,
        routing: RoutingKind::Shared,
    },
    Preset {
        name: "no-offload-aa",
        role: ArmRole::ControlAgain,
        description: "the control again: the noise floor of live targets",
        offload: None,
        routing: RoutingKind::Shared,
    },
    offload("native-offload", "vLLM's OffloadingConnector to host memory", NATIVE),
    offload("native-fs", "OffloadingConnector with a file system behind", NATIVE_FS),
    offload("lmcache-local", "LMCache in host memory", LMCACHE),
    offload("lmcache-disk", "LMCache with a local disk behind", LMCACHE_DISK),
    offload("lmcache-redis", "LMCache with Redis behind", before(Product::Redis)),
    offload("lmcache-valkey", "LMCache with Valkey behind", before(Product::Valkey)),
    offload("lmcache-kvrocks", "LMCache with Kvrocks behind", before(Product::Kvrocks)),
    Preset {
        name: "llm-d-random",
        role: ArmRole::RoutingControl,
        description: "routing by chance: the control of the routing arms",
        offload: None,
        routing: RoutingKind::Random,
    },
    routing("llm-d-approx", "routing by an approximate prefix index", RoutingKind::Approximate),
    routing(
        "llm-d-inmemory",
        "routing by a precise prefix index in memory",
        RoutingKind::Precise("in-memory"),
    ),
    routing(
        "llm-d-redis",
        "routing by a precise prefix index in Redis",
        RoutingKind::Precise("redis"),
    ),
    routing(
        "llm-d-valkey",
        "routing by a precise prefix index in Valkey",
        RoutingKind::Precise("valkey"),
    ),
];

pub fn find(name: &str) -> Option<&'static Preset> {
    ALL.iter().find(|preset| preset.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::links;

    #[test]
    fn every_product_has_a_preset_and_a_profile() {
        for product in Product::ALL {
            let preset = find(&format!("lmcache-{product}")).unwrap();
            assert_eq!(preset.offload, Some(before(product)));
            assert!(links::find(&links::STORES, product.name()).is_some(), "{product}");
        }
    }
}
