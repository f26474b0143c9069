//! Offload mechanisms, and every property in which one differs from another, as a table.
//!
//! Whoever must know something of an arm's mechanism asks its traits. Only the code that is the
//! mechanism itself names it: `weir-deploy`'s file that starts it, and the plan that chooses it.
//!
//! The rules are those of vLLM 0.32 and LMCache 0.5.6.

use crate::tier_kind::TierKind;

crate::words! {
    /// Which software moves the blocks.
    pub enum Mechanism {
        /// vLLM's `OffloadingConnector`.
        Native = "native",
        /// LMCache, inside the engine's process.
        Lmcache = "lmcache",
        /// LMCache's server, a process of its own.
        LmcacheServer = "lmcache-server",
    }
}

/// Whose software it is: its chunks, defaults and metrics are alike wherever it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Software {
    Vllm,
    Lmcache,
}

/// Where a lookup looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupRule {
    /// Behind what the GPU has. A chunk on its way in is waited for; what a farther tier has takes
    /// room in the nearest one.
    BehindGpuPromoting,
    /// Behind what the GPU has, in each tier in turn. A chunk on its way in is a miss.
    BehindGpu,
    /// From the first token on, also for what the GPU has.
    FromFirstToken,
}

/// Which of a pass's chunks are stored where there is no room for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreRule {
    /// None of them; they are offered again with the next.
    WholeOffer,
    /// As many as each tier has room for.
    WhatFits,
    /// None of those that the nearest tier lacks, and they are not offered again.
    WholePass,
}

/// When what a request used becomes recent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecencyRule {
    /// When it is used.
    AtUse,
    /// When the request ends.
    AtEnd,
    /// When the request ends, but for what it stored itself.
    AtEndButOwn,
}

/// What is kept of layers that do not keep every token, where vLLM's hybrid KV cache manager is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HybridChunks {
    /// Blocks of the pool, group by group.
    PoolBlocks,
    /// All layers, of a window its last tokens in each chunk.
    Windows,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub struct MechanismTraits {
    pub software: Software,
    pub lookup: LookupRule,
    /// Whether the scheduler waits for what a remote store answers, so that nobody overtakes.
    pub waits_for_store: bool,
    pub storing: StoreRule,
    /// Whether a request that loads offers only what lies behind that.
    pub offers_behind_loads: bool,
    pub recency: RecencyRule,
    /// Whether it evicts by the clock alone, and never to make room.
    pub evicts_by_clock: bool,
    /// Whether what a farther tier has goes through the nearest one, which makes room for it.
    pub loads_through_nearest: bool,
    /// The farther tier of whose chunks a loaded copy stays in the nearest one.
    pub keeps_copies_of: Option<TierKind>,
    /// Whether the pass that needs a load waits for it.
    pub load_holds_pass: bool,
    /// Nothing where vLLM switches its hybrid KV cache manager off beside the connector.
    pub hybrid_chunks: Option<HybridChunks>,
    /// Its class in vLLM (`kv_connector`).
    pub connector: &'static str,
    /// How its own families of metrics begin, wherever they are scraped.
    pub metrics: &'static str,
    /// Whether vLLM's counters say which tier a hit came from.
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
    // `LMCacheConnectorV1` is no `SupportsHMA`.
    hybrid_chunks: None,
    connector: "LMCacheConnectorV1",
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
    /// Whether a lookup asks for nothing that the GPU has.
    pub fn looks_behind_gpu(&self) -> bool {
        self.lookup != LookupRule::FromFirstToken
    }
}
