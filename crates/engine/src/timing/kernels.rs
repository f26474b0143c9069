//! Times of single kernels, in seconds: matrix products, experts, attention, all-reduce.
//!
//! The constants come from published kernel measurements or the accelerator's
//! [`KernelFit`](weir_model::accelerator::KernelFit). None is fitted to an end-to-end result, so
//! these can test them.

use weir_model::accelerator::Accelerator;
use weir_model::shape::Experts;

use super::{PassShape, PrefillChunk};

/// bf16, also under quantised weights.
pub(super) const ACTIVATION_BYTES: f64 = 2.0;

/// Selects the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WeightFormat {
    /// Two bytes: the fit unchanged.
    Bf16,
    /// One byte, at twice the peak.
    Fp8,
    /// About half a byte, unpacked to bf16 in the kernel (Marlin).
    Int4,
}

impl WeightFormat {
    fn of(bytes_per_weight: f64) -> Self {
        if bytes_per_weight >= 1.5 {
            Self::Bf16
        } else if bytes_per_weight >= 0.75 {
            Self::Fp8
        } else {
            Self::Int4
        }
    }
}

/// Two limits of a kernel, and the exponent that blends them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Roofline {
    flops_per_s: f64,
    bytes_per_s: f64,
    fixed_s: f64,
    blend: f64,
}

impl Roofline {
    /// bf16 uses the fit. For fp8, fits on L40S, H100, H200 and B200 agree on: twice the peak, 0.7
    /// of the bf16 share of it (0.62 to 0.88), the same share of bandwidth, 3.6 us more, and no
    /// overlap of the limits (exponent 1). 4-bit weights reach 0.85 of the bf16 share of the peak
    /// and 1.08 of its share of bandwidth (Marlin on L40S: 0.55 and 0.87).
    pub(super) fn of_products(accelerator: &Accelerator, bytes_per_weight: f64) -> Self {
        let fit = &accelerator.fit;
        let peak = accelerator.bf16_tflops * 1e12;
        let memory = accelerator.memory_gb_per_s * 1e9;
        let bf16 = Self {
            flops_per_s: fit.gemm_flops_share * peak,
            bytes_per_s: fit.gemm_bandwidth_share * memory,
            fixed_s: fit.gemm_fixed_us * 1e-6,
            blend: fit.gemm_blend,
        };
        match WeightFormat::of(bytes_per_weight) {
            WeightFormat::Bf16 => bf16,
            WeightFormat::Fp8 => Self {
                flops_per_s: 0.7 * 2.0 * bf16.flops_per_s,
                fixed_s: bf16.fixed_s + 3.6e-6,
                blend: 1.0,
                ..bf16
            },
            WeightFormat::Int4 => Self {
                flops_per_s: 0.85 * bf16.flops_per_s,
                bytes_per_s: (1.08 * bf16.bytes_per_s).min(0.95 * memory),
                ..bf16
            },
        }
    }

    /// The limits add up, because most experts get few rows and a few get many. Shares of the peak
    /// are fitted to published layer times of Qwen3-30B-A3B (bf16: 0.53) and gpt-oss-120b (4 bits:
    /// 0.42).
    pub(super) fn of_experts(accelerator: &Accelerator, bytes_per_weight: f64) -> Self {
        let peak = accelerator.bf16_tflops * 1e12;
        let (flops_per_s, fixed_s) = match WeightFormat::of(bytes_per_weight) {
            WeightFormat::Bf16 => (0.53 * peak, 25e-6),
            WeightFormat::Fp8 => (0.7 * 2.0 * 0.53 * peak, 30e-6),
            WeightFormat::Int4 => (0.42 * peak, 45e-6),
        };
        let bytes_per_s = accelerator.fit.gemm_bandwidth_share * accelerator.memory_gb_per_s * 1e9;
        Self { flops_per_s, bytes_per_s, fixed_s, blend: 1.0 }
    }

    /// `((flops / F)^p + (bytes / E)^p)^(1/p) + fixed`, scaled by the larger limit against
    /// overflow.
    pub(super) fn time(&self, flops: f64, bytes: f64) -> f64 {
        let compute = flops / self.flops_per_s;
        let memory = bytes / self.bytes_per_s;
        let (large, small) = if compute > memory { (compute, memory) } else { (memory, compute) };
        if large <= 0.0 {
            return self.fixed_s;
        }
        let ratio = libm::pow(small / large, self.blend);
        large * libm::pow(1.0 + ratio, 1.0 / self.blend) + self.fixed_s
    }
}

/// Every token's row times an `outputs x inputs` weight matrix.
#[derive(Debug, Clone, Copy)]
pub(super) struct MatrixProduct {
    /// Columns of the result on this rank.
    pub(super) outputs: f64,
    /// Inner dimension on this rank.
    pub(super) inputs: f64,
    pub(super) bytes_per_weight: f64,
}

impl MatrixProduct {
    pub(super) fn time(&self, roofline: &Roofline, rows: f64) -> f64 {
        let flops = 2.0 * rows * self.outputs * self.inputs;
        let weights = self.outputs * self.inputs * self.bytes_per_weight;
        let activations = ACTIVATION_BYTES * rows * (self.outputs + self.inputs);
        roofline.time(flops, weights + activations)
    }
}

/// Experts of one layer; every rank has a slice of each.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExpertLayer {
    pub(super) experts: Experts,
    /// Width of the residual stream.
    pub(super) hidden: f64,
    pub(super) bytes_per_weight: f64,
    pub(super) ranks: f64,
}

impl ExpertLayer {
    /// Experts used by `tokens` tokens with uniform draws: `E (1 - (1 - k/E)^T)`. Real routers are
    /// skewed and use fewer.
    fn active(&self, tokens: f64) -> f64 {
        let count = f64::from(self.experts.count);
        let missed = 1.0 - f64::from(self.experts.active) / count;
        count * (1.0 - libm::pow(missed, tokens))
    }

    /// Routing, three products per active expert, weighted sum.
    pub(super) fn time(&self, roofline: &Roofline, tokens: f64) -> f64 {
        let per_expert = 3.0 * self.hidden * f64::from(self.experts.intermediate) / self.ranks;
        let bytes = self.active(tokens) * per_expert * self.bytes_per_weight;
        let flops = 2.0 * tokens * f64::from(self.experts.active) * per_expert;
        roofline.time(flops, bytes)
    }
}

/// vLLM's own kernel takes smaller messages; NCCL the others.
const OWN_KERNEL_BYTES_MAX: f64 = 8.0 * 1024.0 * 1024.0;
/// Two ranks below this, in GB/s, use `PCIe` and not `NVLink`.
const PCIE_GB_PER_S_MAX: f64 = 64.0;
/// NCCL over vLLM's own kernel between two `PCIe` peers: 15 against 18.9 GB/s. The published rows
/// on 2x L40S fit 15 (mean throughput error 1.2 %; 2.6 % with 12 GB/s, 2.5 % without a fall). Over
/// `NVLink` both are as fast.
const PCIE_LARGE_MESSAGE_SHARE: f64 = 0.8;

/// Over the ranks of one replica: `fixed + bytes / bandwidth`.
///
/// Over `PCIe`, large messages reach at most [`PCIE_LARGE_MESSAGE_SHARE`] of the two-rank
/// bandwidth. A host without peer-to-peer access uses NCCL for all sizes: give its accelerator
/// lower `all_reduce` figures (12 GB/s for two L40S).
#[derive(Debug, Clone, Copy)]
pub(super) struct AllReduce {
    fixed_s: f64,
    s_per_byte: f64,
    large_s_per_byte: f64,
}

impl AllReduce {
    /// Linear in the logarithm of the ranks between measured counts; beyond the last, its figures.
    /// None without measurements.
    pub(super) fn between(table: &[(u32, f64, f64)], ranks: u32) -> Option<Self> {
        let mut sorted = table.to_vec();
        sorted.sort_by_key(|row| row.0);
        let fewest = sorted.first()?;
        let (fixed_s, s_per_byte) = interpolate(&sorted, ranks);
        let large_s_per_byte = if fewest.2 < PCIE_GB_PER_S_MAX {
            s_per_byte.max(1e-9 / (PCIE_LARGE_MESSAGE_SHARE * fewest.2))
        } else {
            s_per_byte
        };
        Some(Self { fixed_s, s_per_byte, large_s_per_byte })
    }

    pub(super) fn time(&self, bytes: f64) -> f64 {
        let large = bytes >= OWN_KERNEL_BYTES_MAX;
        self.fixed_s + bytes * if large { self.large_s_per_byte } else { self.s_per_byte }
    }
}

/// Fixed seconds and seconds per byte, from rows sorted by ranks.
fn interpolate(sorted: &[(u32, f64, f64)], ranks: u32) -> (f64, f64) {
    let figures = |row: &(u32, f64, f64)| (row.1 * 1e-6, 1e-9 / row.2);
    let above = sorted.partition_point(|row| row.0 < ranks).min(sorted.len() - 1);
    let high = &sorted[above];
    if high.0 <= ranks || above == 0 {
        return figures(high);
    }
    let low = &sorted[above - 1];
    let log = |count: u32| libm::log2(f64::from(count));
    let share = (log(ranks) - log(low.0)) / (log(high.0) - log(low.0));
    let (low, high) = (figures(low), figures(high));
    (low.0 + share * (high.0 - low.0), low.1 + share * (high.1 - low.1))
}

/// vLLM's least shared prefix and sequences for cascade attention.
const CASCADE_PREFIX_MIN: u32 = 256;
const CASCADE_SEQUENCES_MIN: u64 = 8;
/// L2 share that one layer's keys and values can hold.
const L2_USABLE_SHARE: f64 = 0.8;
/// Decode attention from L2 reads up to 1.95 TB/s on L40S: 2.25 times its memory bandwidth.
const L2_BANDWIDTH_RATIO: f64 = 2.25;
/// L2 bandwidth of accelerators with faster memory, which does not grow in proportion.
const L2_BYTES_PER_S_MAX: f64 = 5.5e12;
/// Launch and reduction of decode attention per layer: from memory, from L2, and in two passes with
/// a merge (cascade).
const DECODE_FIXED_S: f64 = 10e-6;
const DECODE_L2_FIXED_S: f64 = 8e-6;
const CASCADE_FIXED_S: f64 = 25e-6;
/// Tokens at which cascade attention reaches half its peak share.
const CASCADE_HALF_TOKENS: f64 = 64.0;

/// Of one layer on one rank.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attention {
    /// Keys and values, per token.
    pub(super) kv_bytes: f64,
    /// Per pair of query and key in prefill.
    pub(super) pair_flops: f64,
    /// Per context token in decode if they may bind (latent attention), else 0.
    pub(super) decode_flops: f64,
    /// FLOP/s.
    pub(super) peak: f64,
    /// Share of the peak for long prefill chunks.
    pub(super) prefill_share: f64,
    /// Chunk length at half of that share.
    pub(super) prefill_half_tokens: f64,
    /// Of decode attention.
    pub(super) memory_bytes_per_s: f64,
    /// Usable part.
    pub(super) l2_bytes: f64,
    /// Of L2 hits.
    pub(super) l2_bytes_per_s: f64,
    /// A prefix shared by all sequences may be read once per pass.
    pub(super) cascade: bool,
}

impl Attention {
    /// With the accelerator's rates; the work is not set.
    pub(super) fn on(accelerator: &Accelerator, cascade: bool) -> Self {
        let memory = accelerator.memory_gb_per_s * 1e9;
        Self {
            kv_bytes: 0.0,
            pair_flops: 0.0,
            decode_flops: 0.0,
            peak: accelerator.bf16_tflops * 1e12,
            prefill_share: accelerator.fit.prefill_flops_share,
            prefill_half_tokens: accelerator.fit.prefill_half_tokens,
            memory_bytes_per_s: accelerator.fit.decode_bandwidth_share * memory,
            l2_bytes: L2_USABLE_SHARE * f64::from(accelerator.l2_mib) * f64::from(1 << 20),
            l2_bytes_per_s: (L2_BANDWIDTH_RATIO * memory).min(L2_BYTES_PER_S_MAX),
            cascade,
        }
    }

    /// Time of one layer. Cascade attention, if allowed, is used where faster, as in vLLM's
    /// estimate of waves on the multiprocessors.
    pub(super) fn time(&self, shape: &PassShape) -> f64 {
        let separate = self.decode(shape) + self.prefill(shape, 0);
        let prefix = shape.shared_prefix_tokens;
        let allowed = self.cascade
            && prefix >= CASCADE_PREFIX_MIN
            && shape.sequences() >= CASCADE_SEQUENCES_MIN;
        if allowed { separate.min(self.cascaded(shape)) } else { separate }
    }

    /// One token per decoding sequence over all of its context.
    fn decode(&self, shape: &PassShape) -> f64 {
        if shape.decoding == 0 {
            return 0.0;
        }
        let read = shape.context_tokens as f64 * self.kv_bytes;
        let compute =
            shape.context_tokens as f64 * self.decode_flops / (self.prefill_share * self.peak);
        let from_memory = (read / self.memory_bytes_per_s).max(compute) + DECODE_FIXED_S;
        // Sequences with shared keys: what fits in L2 is read from memory once.
        let unique = shape.unique_context_tokens.min(shape.context_tokens) as f64 * self.kv_bytes;
        let prefix = f64::from(shape.shared_prefix_tokens) * self.kv_bytes;
        let reused = if prefix > 0.0 { prefix.min(unique) } else { unique };
        if reused >= self.l2_bytes || unique >= read {
            return from_memory;
        }
        let fetched = unique / self.memory_bytes_per_s;
        let from_l2 = (read / self.l2_bytes_per_s).max(fetched).max(compute) + DECODE_L2_FIXED_S;
        from_memory.min(from_l2)
    }

    /// Prompt chunks, without the context counted elsewhere.
    fn prefill(&self, shape: &PassShape, handled: u32) -> f64 {
        shape.prefill.iter().map(|chunk| self.chunk(*chunk, handled)).sum()
    }

    /// `4 heads d (n c + n^2 / 2)` operations at `F n / (n + n_half)` of the peak, or the reads of
    /// its keys if longer. After cached context the kernel spreads keys over more multiprocessors,
    /// so `n_half` falls to a quarter as context outweighs the chunk. It falls gradually, so that
    /// more context never makes a chunk cheaper.
    fn chunk(&self, chunk: PrefillChunk, handled: u32) -> f64 {
        if chunk.new_tokens == 0 {
            return 0.0;
        }
        let new = f64::from(chunk.new_tokens);
        let context = f64::from(chunk.context_tokens.saturating_sub(handled));
        let half = self.prefill_half_tokens * (0.25 + 0.75 * new / (new + context));
        // flops / (F n / (n + half)), with one n cancelled.
        let flops_per_new = self.pair_flops * (context + 0.5 * new);
        let compute = flops_per_new * (new + half) / (self.prefill_share * self.peak);
        let read = (new + context) * self.kv_bytes / self.memory_bytes_per_s;
        compute.max(read)
    }

    /// All tokens against the shared prefix as one dense product, then each sequence against its
    /// own rest.
    fn cascaded(&self, shape: &PassShape) -> f64 {
        let tokens = shape.tokens() as f64;
        let prefix = f64::from(shape.shared_prefix_tokens);
        // flops / (F T / (T + half)), with one T cancelled.
        let shared = self.pair_flops * prefix * (tokens + CASCADE_HALF_TOKENS)
            / (self.prefill_share * self.peak);
        let held = u64::from(shape.decoding) * u64::from(shape.shared_prefix_tokens);
        let own = shape.context_tokens.saturating_sub(held) as f64;
        shared
            + own * self.kv_bytes / self.memory_bytes_per_s
            + self.prefill(shape, shape.shared_prefix_tokens)
            + CASCADE_FIXED_S
    }
}
