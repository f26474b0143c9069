//! `routing`: the name of a policy or of a routing preset, or a map with its parameters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_router::config::ScorerWeights;

use super::quantity::Span;

/// A routing policy with parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoutingSection {
    /// `random`, `round-robin`, `least-loaded`, `approximate-prefix`, `precise-prefix`, or a
    /// routing preset such as `llm-d-redis`.
    pub policy: String,
    /// Weights of the scorers (prefix policies).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<ScorerWeights>,
    /// Tokens per block of the index (prefix policies).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_tokens: Option<u32>,
    /// Blocks remembered per replica (approximate prefix).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lru_blocks_per_replica: Option<u32>,
    /// Longest prefix that is matched (approximate prefix).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prefix_tokens: Option<u32>,
    /// The index (precise prefix).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexSection>,
}

/// The index of a precise-prefix policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IndexSection {
    /// `in-memory`, `redis` or `valkey`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Time from an engine's event to its effect in the index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_delay: Option<Span>,
    /// Time of one lookup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookup_latency: Option<Span>,
    /// Score of a block in GPU memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_weight: Option<f64>,
    /// Score of a block in a tier below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier_weight: Option<f64>,
}
