//! Arm presets, under the names of the field's published evaluations.

use weir_model::{Bytes, Product};

use crate::plan::ArmRole;

use OffloadKind::LmcacheStore;

/// Software and tiers of an arm's offload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffloadKind {
    /// The GPU's prefix cache alone.
    None,
    /// vLLM's `OffloadingConnector` to host memory.
    Native,
    /// The same with a file system behind.
    NativeFs,
    /// LMCache in host memory.
    LmcacheLocal,
    /// LMCache with a disk behind.
    LmcacheDisk,
    /// LMCache with a remote store behind, with the figures of the product's profile.
    LmcacheStore(Product),
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
    pub offload: OffloadKind,
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

const fn offload(name: &'static str, description: &'static str, offload: OffloadKind) -> Preset {
    let role = ArmRole::Treatment;
    Preset { name, role, description, offload, routing: RoutingKind::Shared }
}

const fn routing(name: &'static str, description: &'static str, routing: RoutingKind) -> Preset {
    let role = ArmRole::Treatment;
    Preset { name, role, description, offload: OffloadKind::None, routing }
}

pub const ALL: [Preset; 14] = [
    Preset {
        name: "no-offload",
        role: ArmRole::Control,
        description: "the GPU's prefix cache alone",
        offload: OffloadKind::None,
        routing: RoutingKind::Shared,
    },
    Preset {
        name: "no-offload-aa",
        role: ArmRole::ControlAgain,
        description: "the control again: the noise floor of live targets",
        offload: OffloadKind::None,
        routing: RoutingKind::Shared,
    },
    offload("native-offload", "vLLM's OffloadingConnector to host memory", OffloadKind::Native),
    offload("native-fs", "OffloadingConnector with a file system behind", OffloadKind::NativeFs),
    offload("lmcache-local", "LMCache in host memory", OffloadKind::LmcacheLocal),
    offload("lmcache-disk", "LMCache with a local disk behind", OffloadKind::LmcacheDisk),
    offload("lmcache-redis", "LMCache with Redis behind", LmcacheStore(Product::Redis)),
    offload("lmcache-valkey", "LMCache with Valkey behind", LmcacheStore(Product::Valkey)),
    offload("lmcache-kvrocks", "LMCache with Kvrocks behind", LmcacheStore(Product::Kvrocks)),
    Preset {
        name: "llm-d-random",
        role: ArmRole::RoutingControl,
        description: "routing by chance: the control of the routing arms",
        offload: OffloadKind::None,
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
            assert_eq!(preset.offload, LmcacheStore(product));
            assert!(links::find(&links::STORES, product.name()).is_some(), "{product}");
        }
    }
}
