//! Accelerators: data-sheet figures and the kernel constants fitted to published measurements.

use serde::{Deserialize, Serialize};

/// Constants of the analytic timing model for one accelerator (performance model, section 2.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KernelFit {
    /// Share of the peak FLOP/s that large matrix products reach.
    pub gemm_flops_share: f64,
    /// Share of the memory bandwidth that small matrix products reach.
    pub gemm_bandwidth_share: f64,
    /// Fixed time of a matrix product, microseconds.
    pub gemm_fixed_us: f64,
    /// Exponent that blends the two limits (`(a^p + b^p)^(1/p)`).
    pub gemm_blend: f64,
    /// Share of the memory bandwidth that decode attention reaches.
    pub decode_bandwidth_share: f64,
    /// Share of the peak FLOP/s that prefill attention reaches for long chunks.
    pub prefill_flops_share: f64,
    /// Chunk length at which it reaches half of that, tokens.
    pub prefill_half_tokens: f64,
    /// All-reduce by number of ranks: (ranks, fixed microseconds, GB/s).
    pub all_reduce: Vec<(u32, f64, f64)>,
}

/// One kind of accelerator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Accelerator {
    /// Short name: `l40s`, `h100-sxm`.
    pub name: String,
    /// Usable memory in MiB.
    pub memory_mib: u64,
    /// Dense bf16 TFLOP/s.
    pub bf16_tflops: f64,
    /// Memory bandwidth, GB/s.
    pub memory_gb_per_s: f64,
    /// L2 cache, MiB.
    pub l2_mib: u32,
    /// Host link (PCIe), GB/s in one direction that large copies reach.
    pub host_link_gb_per_s: f64,
    /// Fitted constants; without them the accelerator is `uncalibrated` and a relative's are used.
    pub fit: KernelFit,
    /// False when `fit` was taken over from a relative and not fitted on this accelerator.
    pub calibrated: bool,
}
