//! Resolved configuration of a router.

use serde::{Deserialize, Serialize};
use weir_model::Nanos;

/// Weights of the scorers; the replica with the highest weighted sum wins, ties go to the one
/// with fewer running and waiting requests and then to the lower number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScorerWeights {
    /// `(max - queue) / (max - min)` over the replicas' waiting requests; 1 when all are equal.
    pub queue: f64,
    /// `1 - usage` of the KV pool.
    pub kv_usage: f64,
    /// Matched blocks / total blocks of the prompt.
    pub prefix: f64,
}

impl Default for ScorerWeights {
    /// The built-in default profile of the llm-d endpoint picker.
    fn default() -> Self {
        Self { queue: 2.0, kv_usage: 2.0, prefix: 3.0 }
    }
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
}

impl Default for IndexConfig {
    fn default() -> Self {
        Self {
            backend: "in-memory".to_owned(),
            event_delay: Nanos::from_millis(2),
            lookup_latency: Nanos::from_micros(100),
            gpu_weight: 1.0,
            tier_weight: 0.8,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyConfig {
    Random,
    RoundRobin,
    /// Fewest running and waiting requests.
    LeastLoaded,
    /// The router's own decisions, in an LRU of blocks per replica.
    ApproximatePrefix {
        weights: ScorerWeights,
        /// Tokens per remembered block (llm-d clamps to at least 64).
        block_tokens: u32,
        lru_blocks_per_replica: u32,
        /// Longest prefix that is matched.
        max_prefix_tokens: u32,
    },
    /// The engines' KV events.
    PrecisePrefix {
        weights: ScorerWeights,
        block_tokens: u32,
        index: IndexConfig,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterConfig {
    pub policy: PolicyConfig,
    /// Seed of its random choices.
    pub seed: u64,
}
