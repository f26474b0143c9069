//! `engine`: vLLM's settings under vLLM's names. An absent one takes the default of the version,
//! the accelerator and the model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use super::written::OneOrMany;
use weir_model::quantity::{Span, Version};

/// Element type of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KvCacheDtype {
    /// The model's own (16 bits).
    Auto,
    /// 8 bits.
    Fp8,
    /// 32 bits, and so are the weights: sums in another order then hardly ever change an answer.
    Float32,
}

/// How long a pass takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimingSection {
    /// The calibrated model of the accelerator.
    Analytic,
    /// `base + per_token * tokens`, for tests and comparisons of simulators.
    Fixed {
        /// Time of an empty pass.
        base: Span,
        /// Added per scheduled token.
        per_token: Span,
    },
}

/// Settings of the engine.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EngineSection {
    /// vLLM's version, in quotes.
    pub vllm: Option<Version>,
    /// Tensor-parallel ranks; all accelerators of a replica without it. A list is a sweep.
    pub tensor_parallel: Option<OneOrMany<u32>>,
    /// Share of the accelerator's memory that vLLM may use (0.9). A list is a sweep.
    pub gpu_memory_utilization: Option<OneOrMany<f64>>,
    /// Most sequences that run at once (1024 from 70 GiB on, else 256).
    pub max_num_seqs: Option<u32>,
    /// Most tokens in one pass (8192 from 70 GiB on, else 2048).
    pub max_num_batched_tokens: Option<u32>,
    /// Tokens per KV block (16).
    pub block_size: Option<u32>,
    /// Longest sequence; the model's context without it.
    pub max_model_len: Option<u32>,
    /// Whether finished blocks can be hit again (true).
    pub prefix_caching: Option<bool>,
    /// KV tokens that the GPUs of a replica hold, in place of the computed number.
    pub kv_tokens: Option<u64>,
    /// Share of the blocks kept free when a request is admitted while others run (0).
    pub watermark: Option<f64>,
    /// Whether the scheduler's CPU work overlaps the GPU's (from vLLM 0.12 on).
    pub async_scheduling: Option<bool>,
    /// Whether one prefix shared by all running sequences is read once (before vLLM 0.17).
    pub cascade_attention: Option<bool>,
    /// Element type of the KV cache.
    pub kv_cache_dtype: Option<KvCacheDtype>,
    /// How pass durations are computed (analytic).
    pub timing: Option<TimingSection>,
    /// CPU time of a pass (2.5 ms).
    pub cpu_per_pass: Option<Span>,
    /// CPU time per sequence of a pass (40 us).
    pub cpu_per_sequence: Option<Span>,
    /// Time between a request's arrival and the scheduler (12 ms).
    pub front_end: Option<Span>,
}
