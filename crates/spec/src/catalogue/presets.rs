//! Arm presets, under the names of published evaluations.

use weir_model::{Bytes, Product, Software};
use weir_tier::EvictionPolicy;

use crate::plan::ArmRole;

/// With default sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffloadPreset {
    pub software: Software,
    /// Host memory; with LMCache, on each rank that keeps blocks.
    pub host: Bytes,
    pub chunk: ChunkLength,
    pub disk: Option<DiskPreset>,
    /// With the figures of its product's profile.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoutingKind {
    Shared,
    Random,
    /// llm-d's approximate prefix scorer.
    Approximate,
    /// llm-d's precise prefix scorer, with the index's backend: in-memory, redis or valkey.
    Precise(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    pub name: &'static str,
    pub role: ArmRole,
    pub description: &'static str,
    /// None for the GPU's prefix cache alone.
    pub offload: Option<OffloadPreset>,
    pub routing: RoutingKind,
}

/// Default of `native-offload` (vLLM itself demands a size).
pub const NATIVE_BYTES: Bytes = Bytes::from_gib(64);
pub const NATIVE_FS_HOST_BYTES: Bytes = Bytes::from_gib(16);
/// File system of `native-fs`, which vLLM never empties.
pub const NATIVE_FS_BYTES: Bytes = Bytes(1_000_000_000_000);
/// LMCache's default, `max_local_cpu_size` 5.0, for each rank that keeps blocks. In GiB, against
/// its documentation (`lmcache/v1/cache_engine.py` multiplies by `1024**3`).
pub const LMCACHE_BYTES_PER_RANK: Bytes = Bytes::from_gib(5);
/// Of `lmcache-disk`. LMCache's own default is 0, which stores nothing.
pub const LMCACHE_DISK_BYTES: Bytes = Bytes(100_000_000_000);
pub const STORE_BYTES: Bytes = Bytes::from_gib(64);
pub const LMCACHE_CHUNK_TOKENS: u32 = 256;
/// Blocks per file of `native-fs`: the disk's latency would dominate small files.
pub const NATIVE_FS_CHUNK_BLOCKS: u32 = 16;

const NATIVE: OffloadPreset = OffloadPreset {
    software: Software::Vllm,
    host: NATIVE_BYTES,
    chunk: ChunkLength::Blocks(1),
    disk: None,
    store: None,
};

const NATIVE_FS: OffloadPreset = OffloadPreset {
    host: NATIVE_FS_HOST_BYTES,
    chunk: ChunkLength::Blocks(NATIVE_FS_CHUNK_BLOCKS),
    // vLLM never deletes a file.
    disk: Some(DiskPreset { capacity: NATIVE_FS_BYTES, policy: EvictionPolicy::None }),
    ..NATIVE
};

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
