//! Resolved configuration of a router.

use serde::{Deserialize, Serialize};
use weir_model::Nanos;

/// Weights of the scorers; the replica with the highest weighted sum wins, and chance decides
/// between several.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScorerWeights {
    /// `(max - queue) / (max - min)` over the replicas' waiting requests; 1 when all are equal.
    pub queue: f64,
    /// `1 - usage` of the KV pool.
    pub kv_usage: f64,
    /// The prompt's blocks that a replica holds: by `normalization` in a precise policy, matched /
    /// total blocks in an approximate one.
    pub prefix: f64,
    /// For prompts that no replica holds any block of: from 1 for a replica that never had one to 0
    /// for the replica that had the last. 0.5 for other prompts.
    pub no_hit_lru: f64,
}

impl Default for ScorerWeights {
    /// The built-in default profile of the llm-d endpoint picker.
    fn default() -> Self {
        Self { queue: 2.0, kv_usage: 2.0, prefix: 3.0, no_hit_lru: 0.0 }
    }
}

/// How a precise policy scores matched blocks, from 0 to 1.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Normalization {
    /// Between the least and the most of the replicas that have a match; 1 for all of these when
    /// they are equal (llm-d-inference-scheduler 0.7.1).
    #[default]
    MinMax,
    /// Matched / total blocks (llm-d-router 0.10).
    Share,
}

/// The precise index, fed by delayed KV events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IndexConfig {
    /// "in-memory", "redis" or "valkey": a word for reports; the delays are below.
    pub backend: String,
    /// Time from an engine's event to its effect in the index.
    pub event_delay: Nanos,
    /// Time of one lookup, added before the request is sent on.
    pub lookup_latency: Nanos,
    /// Score of a block in GPU memory.
    pub gpu_weight: f64,
    /// Score of a block in a tier below it.
    pub tier_weight: f64,
    /// A block that a replica stored twice in a tier must be removed twice (llm-d-router 0.10).
    /// Otherwise its first removal forgets it (llm-d-kv-cache 0.9).
    pub counts_stores: bool,
}

impl Default for IndexConfig {
    fn default() -> Self {
        Self {
            backend: "in-memory".to_owned(),
            event_delay: Nanos::from_millis(2),
            lookup_latency: Nanos::from_micros(100),
            gpu_weight: 1.0,
            tier_weight: 0.8,
            counts_stores: false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyConfig {
    Random,
    RoundRobin,
    /// Fewest requests in flight.
    LeastLoaded,
    /// The router's own decisions, in an LRU of blocks per replica.
    ApproximatePrefix {
        weights: ScorerWeights,
        /// Tokens per remembered block.
        block_tokens: u32,
        lru_blocks_per_replica: u32,
        /// Longest prefix that is matched.
        max_prefix_tokens: u32,
        scrape_interval: Nanos,
    },
    /// The engines' KV events.
    PrecisePrefix {
        weights: ScorerWeights,
        normalization: Normalization,
        block_tokens: u32,
        index: IndexConfig,
        scrape_interval: Nanos,
    },
}

impl PolicyConfig {
    /// The default of llm-d's picker.
    pub const SCRAPE_INTERVAL: Nanos = Nanos::from_millis(50);

    /// From one reading of the replicas' gauges to the next. None: the policy does not use them.
    pub const fn scrape_interval(&self) -> Option<Nanos> {
        match self {
            Self::Random | Self::RoundRobin | Self::LeastLoaded => None,
            Self::ApproximatePrefix { scrape_interval, .. }
            | Self::PrecisePrefix { scrape_interval, .. } => Some(*scrape_interval),
        }
    }
}

impl PolicyConfig {
    /// Whether its index is fed by the engines' KV events.
    pub const fn hears_events(&self) -> bool {
        matches!(self, Self::PrecisePrefix { .. })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterConfig {
    pub policy: PolicyConfig,
    /// Seed of its random choices.
    pub seed: u64,
}
