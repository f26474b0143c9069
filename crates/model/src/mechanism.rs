//! Offload mechanisms, and every property in which they differ, as a table.
//!
//! Code queries these traits. Only the mechanism's own code names it: `weir-deploy`'s file that
//! starts it, and the plan that chooses it. The rules are those of vLLM 0.32 and LMCache 0.5.6.

use crate::tier_kind::TierKind;

crate::words! {
    pub enum Mechanism {
        /// vLLM's `OffloadingConnector`.
        Native = "native",
        /// LMCache, inside the engine's process.
        Lmcache = "lmcache",
        /// LMCache's server, a process of its own.
        LmcacheServer = "lmcache-server",
    }
}

/// Chunks, defaults and metrics are alike wherever the software runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Software {
    Vllm,
    Lmcache,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupRule {
    /// After the GPU's blocks. It waits for a chunk that is being loaded; a chunk from a farther
    /// tier takes room in the nearest one.
    BehindGpuPromoting,
    /// After the GPU's blocks, in each tier in turn. A chunk that is being loaded is a miss.
    BehindGpu,
    /// From the first token on, including the GPU's blocks.
    FromFirstToken,
}

/// Which of a pass's chunks are stored if they do not all fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreRule {
    /// None; they are offered again with the next pass.
    WholeOffer,
    /// As many as each tier has room for.
    WhatFits,
    /// None of those that the nearest tier lacks, and they are not offered again.
    WholePass,
}

/// When the blocks that a request used become recent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecencyRule {
    AtUse,
    AtEnd,
    /// When the request ends, except for its own stores.
    AtEndButOwn,
}

/// What is kept of layers that do not keep every token, with vLLM's hybrid KV cache manager on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HybridChunks {
    /// Blocks of the pool, group by group.
    PoolBlocks,
    /// All layers; of a window, its last tokens in each chunk.
    Windows,
}

/// KV events of a tier, as subscribers of the engine's hear them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierEvents {
    pub tier: TierKind,
    /// The events' `medium`.
    pub medium: &'static str,
    /// Whether evicted chunks are announced, and not only stored ones.
    pub says_evictions: bool,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub struct MechanismTraits {
    pub software: Software,
    pub lookup: LookupRule,
    /// Whether the scheduler blocks on the answer of a remote store.
    pub waits_for_store: bool,
    pub storing: StoreRule,
    /// Whether a request that loads offers only what follows the loaded part.
    pub offers_behind_loads: bool,
    pub recency: RecencyRule,
    /// Whether it evicts by the clock alone, and never to make room.
    pub evicts_by_clock: bool,
    /// Whether chunks of a farther tier pass through the nearest one, which makes room for them.
    pub loads_through_nearest: bool,
    /// The farther tier whose loaded chunks leave a copy in the nearest one.
    pub keeps_copies_of: Option<TierKind>,
    /// Whether the pass that needs a load waits for it.
    pub load_holds_pass: bool,
    /// None where vLLM switches its hybrid KV cache manager off beside the connector.
    pub hybrid_chunks: Option<HybridChunks>,
    /// Its class in vLLM (`kv_connector`).
    pub connector: &'static str,
    /// Of tiers below the GPU. Empty: the engine publishes those of its own blocks alone.
    pub events: &'static [TierEvents],
    /// Prefix of its own metric families.
    pub metrics: &'static str,
    pub says_tiers: bool,
}

const NATIVE: MechanismTraits = MechanismTraits {
    software: Software::Vllm,
    lookup: LookupRule::BehindGpuPromoting,
    waits_for_store: false,
    storing: StoreRule::WholeOffer,
    offers_behind_loads: true,
    // `OffloadingManager.on_request_finished`.
    recency: RecencyRule::AtEndButOwn,
    evicts_by_clock: false,
    loads_through_nearest: true,
    keeps_copies_of: Some(TierKind::Disk),
    load_holds_pass: false,
    hybrid_chunks: Some(HybridChunks::PoolBlocks),
    connector: "OffloadingConnector",
    // `CPUOffloadingManager`, and the tier `fs` with `enable_kv_events`, which deletes no file.
    events: &[
        TierEvents { tier: TierKind::Host, medium: "CPU", says_evictions: true },
        TierEvents { tier: TierKind::Disk, medium: "STORAGE", says_evictions: false },
    ],
    metrics: "vllm:kv_offload_",
    says_tiers: true,
};

const LMCACHE: MechanismTraits = MechanismTraits {
    software: Software::Lmcache,
    lookup: LookupRule::BehindGpu,
    // `get_num_new_matched_tokens` of `LMCacheConnectorV1` asks while the scheduler waits.
    waits_for_store: true,
    storing: StoreRule::WhatFits,
    offers_behind_loads: false,
    recency: RecencyRule::AtUse,
    evicts_by_clock: false,
    loads_through_nearest: false,
    keeps_copies_of: Some(TierKind::Remote),
    load_holds_pass: true,
    // `LMCacheConnectorV1` does not support `SupportsHMA`.
    hybrid_chunks: None,
    connector: "LMCacheConnectorV1",
    // With `enable_kv_events`, which is off by default, it would announce stored chunks and never
    // their eviction.
    events: &[],
    metrics: "lmcache:",
    says_tiers: false,
};

const LMCACHE_SERVER: MechanismTraits = MechanismTraits {
    lookup: LookupRule::FromFirstToken,
    waits_for_store: false,
    storing: StoreRule::WholePass,
    recency: RecencyRule::AtEnd,
    evicts_by_clock: true,
    loads_through_nearest: true,
    keeps_copies_of: None,
    load_holds_pass: false,
    hybrid_chunks: Some(HybridChunks::Windows),
    connector: "LMCacheMPConnector",
    // vLLM's class of this name takes none from the server. LMCache's own
    // (`kv_connector_module_path`) would announce level 1.
    events: &[],
    metrics: "lmcache_mp_",
    ..LMCACHE
};

impl Mechanism {
    pub const fn traits(self) -> &'static MechanismTraits {
        match self {
            Self::Native => &NATIVE,
            Self::Lmcache => &LMCACHE,
            Self::LmcacheServer => &LMCACHE_SERVER,
        }
    }
}

impl MechanismTraits {
    pub fn looks_behind_gpu(&self) -> bool {
        self.lookup != LookupRule::FromFirstToken
    }

    /// None for a tier without events.
    pub fn events_of(&self, tier: TierKind) -> Option<TierEvents> {
        self.events.iter().copied().find(|events| events.tier == tier)
    }
}
