//! `routing`: the name of a policy or of a routing preset, or a map with its parameters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;
use weir_router::config::{Normalization, ScorerWeights};

use weir_model::quantity::Span;

/// A routing policy with parameters.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoutingSection {
    /// `random`, `round-robin`, `least-loaded`, `approximate-prefix`, `precise-prefix`, or a
    /// routing preset such as `llm-d-redis`.
    pub policy: String,
    /// Weights of the scorers (prefix policies).
    pub weights: Option<ScorerWeights>,
    /// How matched blocks are scored (precise prefix): `min-max` as in llm-d-inference-scheduler
    /// 0.7.1, `share` as in llm-d-router 0.10.
    pub normalization: Option<Normalization>,
    /// Time between two readings of the replicas' gauges (prefix policies); 0 reads them at each
    /// decision.
    pub scrape_interval: Option<Span>,
    /// Tokens per block of the index (prefix policies).
    pub block_tokens: Option<u32>,
    /// Blocks remembered per replica (approximate prefix).
    pub lru_blocks_per_replica: Option<u32>,
    /// Longest prefix that is matched (approximate prefix).
    pub max_prefix_tokens: Option<u32>,
    /// The index (precise prefix).
    pub index: Option<IndexSection>,
}

/// The index of a precise-prefix policy.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IndexSection {
    /// `in-memory`, `redis` or `valkey`.
    pub backend: Option<String>,
    /// Time from an engine's event to its effect in the index.
    pub event_delay: Option<Span>,
    /// Time of one lookup.
    pub lookup_latency: Option<Span>,
    /// Score of a block in GPU memory.
    pub gpu_weight: Option<f64>,
    /// Score of a block in a tier below it.
    pub tier_weight: Option<f64>,
    /// Whether a block stored twice must be removed twice, as in llm-d-router 0.10. Otherwise its
    /// first removal forgets it.
    pub counts_stores: Option<bool>,
}
