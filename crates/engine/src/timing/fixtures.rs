//! Shapes and accelerators of the timing tests, as in the catalogue.

use weir_model::shape::{Experts, ModelShape};
use weir_model::{Accelerator, KernelFit, Nanos};

use crate::config::AnalyticConfig;

/// Layers, hidden, heads, kv heads, head width, inner width, vocabulary.
type Dimensions = [u32; 7];

fn shape(name: &str, dimensions: Dimensions, bytes_per_weight: f64) -> ModelShape {
    let [layers, hidden, heads, kv_heads, head_dim, intermediate, vocabulary] = dimensions;
    ModelShape {
        name: name.to_owned(),
        layers,
        hidden,
        heads,
        kv_heads,
        head_dim,
        intermediate,
        vocabulary,
        context: 131_072,
        weight_bytes: None,
        bytes_per_weight,
        kv_bytes_per_element: 2,
        experts: None,
        latent: None,
        kv_layers: Vec::new(),
    }
}

pub(super) fn model(name: &str) -> ModelShape {
    match name {
        "Qwen/Qwen3-0.6B" => shape(name, [28, 1024, 16, 8, 128, 3072, 151_936], 2.0),
        "Qwen/Qwen3-8B" => shape(name, [36, 4096, 32, 8, 128, 12_288, 151_936], 2.0),
        "Qwen/Qwen3-14B" => shape(name, [40, 5120, 40, 8, 128, 17_408, 151_936], 2.0),
        "Qwen/Qwen3-32B-AWQ" => shape(name, [64, 5120, 64, 8, 128, 25_600, 151_936], 0.55),
        "meta-llama/Llama-3.1-8B" => shape(name, [32, 4096, 32, 8, 128, 14_336, 128_256], 2.0),
        "Qwen/Qwen3-30B-A3B" => ModelShape {
            experts: Some(Experts { count: 128, active: 8, intermediate: 768 }),
            ..shape(name, [48, 2048, 32, 4, 128, 0, 151_936], 2.0)
        },
        "openai/gpt-oss-120b" => ModelShape {
            experts: Some(Experts { count: 128, active: 4, intermediate: 2880 }),
            ..shape(name, [36, 2880, 64, 8, 64, 0, 201_088], 0.53)
        },
        other => panic!("no fixture for {other}"),
    }
}

pub(super) fn l40s() -> Accelerator {
    Accelerator {
        name: "l40s".to_owned(),
        memory_mib: 46_068,
        bf16_tflops: 362.0,
        memory_gb_per_s: 864.0,
        l2_mib: 96,
        host_link_gb_per_s: 23.0,
        fit: KernelFit {
            gemm_flops_share: 0.644,
            gemm_bandwidth_share: 0.804,
            gemm_fixed_us: 1.1,
            gemm_blend: 2.19,
            decode_bandwidth_share: 0.84,
            prefill_flops_share: 0.51,
            prefill_half_tokens: 450.0,
            all_reduce: vec![(2, 5.3, 18.9), (4, 12.9, 2.55), (8, 24.3, 1.12)],
        },
        calibrated: true,
    }
}

/// NVIDIA H100 SXM.
pub(super) fn h100() -> Accelerator {
    Accelerator {
        name: "h100-sxm".to_owned(),
        memory_mib: 81_559,
        bf16_tflops: 989.0,
        memory_gb_per_s: 3350.0,
        l2_mib: 50,
        host_link_gb_per_s: 51.0,
        fit: KernelFit {
            gemm_flops_share: 0.815,
            gemm_bandwidth_share: 0.883,
            gemm_fixed_us: 3.5,
            gemm_blend: 2.80,
            decode_bandwidth_share: 0.955,
            prefill_flops_share: 0.60,
            prefill_half_tokens: 1100.0,
            all_reduce: vec![(2, 4.2, 222.0), (4, 4.7, 172.0), (8, 5.4, 185.0)],
        },
        calibrated: true,
    }
}

/// vLLM 0.11.2 on the published L40S host: synchronous scheduling, cascade attention on.
pub(super) fn on_l40s(name: &str, tensor_parallel: u32) -> AnalyticConfig {
    AnalyticConfig {
        model: model(name),
        accelerator: l40s(),
        tensor_parallel,
        async_scheduling: false,
        cascade_attention: true,
        cpu_per_pass: Nanos::from_micros(2_500),
        cpu_per_sequence: Nanos::from_micros(140),
        front_end: Nanos::from_millis(12),
    }
}

/// vLLM 0.12 on H100: 40 us of CPU time per sequence.
pub(super) fn on_h100(name: &str, tensor_parallel: u32) -> AnalyticConfig {
    AnalyticConfig {
        accelerator: h100(),
        cpu_per_sequence: Nanos::from_micros(40),
        ..on_l40s(name, tensor_parallel)
    }
}
