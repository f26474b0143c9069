//! `engine`: vLLM's settings under vLLM's names. An absent one takes the default of the version,
//! the accelerator and the model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{Span, Version};
use super::written::OneOrMany;

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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EngineSection {
    /// vLLM's version, in quotes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vllm: Option<Version>,
    /// Tensor-parallel ranks; all accelerators of a replica without it. A list is a sweep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor_parallel: Option<OneOrMany<u32>>,
    /// Share of the accelerator's memory that vLLM may use (0.9). A list is a sweep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_utilization: Option<OneOrMany<f64>>,
    /// Most sequences that run at once (1024 from 70 GiB on, else 256).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_num_seqs: Option<u32>,
    /// Most tokens in one pass (8192 from 70 GiB on, else 2048).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_num_batched_tokens: Option<u32>,
    /// Tokens per KV block (16).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u32>,
    /// Longest sequence; the model's context without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<u32>,
    /// Whether finished blocks can be hit again (true).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_caching: Option<bool>,
    /// KV tokens that the GPUs of a replica hold, in place of the computed number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_tokens: Option<u64>,
    /// Share of the blocks kept free when a request is admitted while others run (0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark: Option<f64>,
    /// Whether the scheduler's CPU work overlaps the GPU's (from vLLM 0.12 on).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub async_scheduling: Option<bool>,
    /// Whether one prefix shared by all running sequences is read once (before vLLM 0.17).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cascade_attention: Option<bool>,
    /// Element type of the KV cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_cache_dtype: Option<KvCacheDtype>,
    /// How pass durations are computed (analytic).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timing: Option<TimingSection>,
    /// CPU time of a pass (2.5 ms).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_per_pass: Option<Span>,
    /// CPU time per sequence of a pass (40 us).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_per_sequence: Option<Span>,
    /// Time between a request's arrival and the scheduler (12 ms).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub front_end: Option<Span>,
}

impl EngineSection {
    /// These settings where they are given, and `base` where they are not.
    #[must_use]
    pub fn over(&self, base: &Self) -> Self {
        let of = self.clone();
        let base = base.clone();
        Self {
            vllm: of.vllm.or(base.vllm),
            tensor_parallel: of.tensor_parallel.or(base.tensor_parallel),
            gpu_memory_utilization: of.gpu_memory_utilization.or(base.gpu_memory_utilization),
            max_num_seqs: of.max_num_seqs.or(base.max_num_seqs),
            max_num_batched_tokens: of.max_num_batched_tokens.or(base.max_num_batched_tokens),
            block_size: of.block_size.or(base.block_size),
            max_model_len: of.max_model_len.or(base.max_model_len),
            prefix_caching: of.prefix_caching.or(base.prefix_caching),
            kv_tokens: of.kv_tokens.or(base.kv_tokens),
            watermark: of.watermark.or(base.watermark),
            async_scheduling: of.async_scheduling.or(base.async_scheduling),
            cascade_attention: of.cascade_attention.or(base.cascade_attention),
            kv_cache_dtype: of.kv_cache_dtype.or(base.kv_cache_dtype),
            timing: of.timing.or(base.timing),
            cpu_per_pass: of.cpu_per_pass.or(base.cpu_per_pass),
            cpu_per_sequence: of.cpu_per_sequence.or(base.cpu_per_sequence),
            front_end: of.front_end.or(base.front_end),
        }
    }
}
