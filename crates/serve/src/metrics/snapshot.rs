//! What the page says about an engine's present state, read from the cluster when it is scraped.

use weir_engine::{Counters, Mechanism};
use weir_model::TierKind;

/// The state of one engine at a scrape.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EngineSnapshot {
    /// Requests in the running batch.
    pub running: u64,
    /// Requests that wait for room or for their turn.
    pub waiting_for_capacity: u64,
    /// Requests that wait for a lookup or a load.
    pub deferred: u64,
    /// The deferred requests by stage of their load, where the engine has an offload mechanism.
    pub fetches: Option<FetchStages>,
    /// Fraction of the KV blocks that requests hold.
    pub kv_usage: f64,
    /// Prompt tokens asked of the GPU's prefix cache.
    pub prefix_queries: u64,
    pub prefix_hits: u64,
    /// Prompt tokens asked of the offload mechanism.
    pub external_queries: u64,
    /// Of these, found, by where they came from.
    pub external_hits: ExternalHits,
    pub preemptions: u64,
    pub offload: Option<OffloadSnapshot>,
    pub lmcache: Option<LmcacheSnapshot>,
}

impl EngineSnapshot {
    /// Takes over what the engine itself counts.
    #[must_use]
    pub fn with_counters(mut self, counters: &Counters, mechanism: Option<Mechanism>) -> Self {
        self.prefix_queries = counters.prompt_tokens;
        self.prefix_hits = counters.gpu_hit_tokens;
        self.external_queries = counters.external_query_tokens;
        self.external_hits = ExternalHits::attributed(&counters.tier_hit_tokens, mechanism);
        self.preemptions = counters.preemptions;
        match mechanism {
            Some(Mechanism::Native) => {
                let offload = self.offload.get_or_insert_default();
                offload.stored_bytes = counters.stored_bytes;
                offload.loaded_bytes = counters.loaded_bytes;
                offload.allocation_failures = counters.refused_chunks;
            }
            Some(Mechanism::Lmcache | Mechanism::LmcacheServer) => {
                let lmcache = self.lmcache.get_or_insert_default();
                lmcache.requested_tokens = counters.external_query_tokens;
                lmcache.hit_tokens = self.external_hits.total();
                lmcache.prompt_tokens = counters.prompt_tokens;
                lmcache.gpu_hit_tokens = counters.gpu_hit_tokens;
            }
            None => {}
        }
        self
    }
}

/// Requests with a load from the offload mechanism, by its stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FetchStages {
    /// The load has not started (its lookup is not answered, for example).
    pub waiting_to_start: u64,
    /// The bytes are on their way.
    pub in_progress: u64,
    /// They are there, and the request does not run yet.
    pub completed_waiting: u64,
}

/// Hit tokens outside of the GPU, by vLLM's names for where they came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExternalHits {
    pub host: u64,
    pub peer: u64,
    pub disk: u64,
    /// A connector that does not say.
    pub unspecified: u64,
}

impl ExternalHits {
    /// Names the sources of hits per tier (indexed by [`TierKind::index`]) as vLLM does: its own
    /// connector tells host and disk apart, `LMCache`'s says nothing.
    pub fn attributed(tier_hits: &[u64; 4], mechanism: Option<Mechanism>) -> Self {
        let of = |tier: TierKind| tier_hits[tier.index()];
        let (host, disk, remote) = (of(TierKind::Host), of(TierKind::Disk), of(TierKind::Remote));
        match mechanism {
            Some(Mechanism::Lmcache | Mechanism::LmcacheServer) => {
                Self { unspecified: host + disk + remote, ..Self::default() }
            }
            Some(Mechanism::Native) | None => Self { host, disk, peer: 0, unspecified: remote },
        }
    }

    pub fn total(&self) -> u64 {
        self.host + self.peer + self.disk + self.unspecified
    }
}

/// Counters of vLLM's own offload connector. Sizes of single transfers and delays of lookups are
/// recorded one by one, by [`super::EngineMetrics`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct OffloadSnapshot {
    /// Bytes from the GPU to the host.
    pub stored_bytes: u64,
    /// Time their transfers took, in seconds.
    pub store_seconds: f64,
    /// Bytes from the host to the GPU.
    pub loaded_bytes: u64,
    /// Time their transfers took, in seconds.
    pub load_seconds: f64,
    /// Stores that found no room.
    pub allocation_failures: u64,
    /// Fraction of the host tier that transfers in flight pin: stores.
    pub pinned_by_stores: f64,
    pub pinned_by_loads: f64,
}

/// Counters of an in-process `LMCache`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LmcacheSnapshot {
    pub requested_tokens: u64,
    pub hit_tokens: u64,
    /// Tokens stored, evicted ones included.
    pub stored_tokens: u64,
    pub prompt_tokens: u64,
    /// Of these, held by the GPU already.
    pub gpu_hit_tokens: u64,
    pub remote_read_bytes: u64,
    pub remote_written_bytes: u64,
    /// Bytes in host memory.
    pub local_bytes: u64,
    pub disk_bytes: u64,
    pub remote_bytes: u64,
}

/// What `vllm:cache_config_info` says of all engines.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheConfig {
    pub block_tokens: u32,
    pub gpu_blocks: u64,
    pub gpu_blocks_override: Option<u64>,
    /// Longest context in tokens.
    pub max_model_tokens: u32,
    pub prefix_caching: bool,
    /// `--prefix-caching-hash-algo`.
    pub hash_algorithm: &'static str,
    pub gpu_memory_utilization: f64,
    pub kv_cache_bytes: u64,
}
