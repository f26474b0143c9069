//! Time of one `TimingModel::pass` call, the lower bound of a simulation.

use divan::{Bencher, black_box};
use weir_engine::TimingConfig;
use weir_engine::config::AnalyticConfig;
use weir_engine::timing::{PassShape, PrefillChunk, Timing, TimingModel};
use weir_model::{Accelerator, Bytes, KernelFit, ModelShape, Nanos};

fn main() {
    divan::main();
}

/// Qwen3-8B on two L40S.
fn timing() -> Timing {
    let model = ModelShape {
        name: "Qwen/Qwen3-8B".to_owned(),
        layers: 36,
        hidden: 4096,
        heads: 32,
        kv_heads: 8,
        head_dim: 128,
        intermediate: 12_288,
        vocabulary: 151_936,
        context: 40_960,
        weight_bytes: Some(Bytes(16_381_470_720)),
        bytes_per_weight: 2.0,
        kv_bytes_per_element: 2,
        experts: None,
        latent: None,
        kv_layers: Vec::new(),
    };
    let accelerator = Accelerator {
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
            all_reduce: vec![(2, 5.3, 18.9)],
        },
        calibrated: true,
    };
    let config = TimingConfig::Analytic(Box::new(AnalyticConfig {
        model,
        accelerator,
        tensor_parallel: 2,
        async_scheduling: false,
        cascade_attention: true,
        cpu_per_pass: Nanos::from_micros(2_500),
        cpu_per_sequence: Nanos::from_micros(140),
        front_end: Nanos::from_millis(12),
    }));
    Timing::new(&config).expect("the figures above are positive and 2 divides 32")
}

fn shape(prefill: Vec<PrefillChunk>) -> PassShape {
    PassShape {
        prefill,
        decoding: 500,
        context_tokens: 500 * 10_200,
        unique_context_tokens: 10_000 + 500 * 200,
        shared_prefix_tokens: 10_000,
    }
}

/// 500 sequences with contexts that grow as in a run.
#[divan::bench(sample_size = 10_000)]
fn decode_only(bencher: Bencher<'_, '_>) {
    let mut timing = timing();
    let mut shape = shape(Vec::new());
    bencher.bench_local(|| {
        shape.context_tokens += 500;
        shape.unique_context_tokens += 500;
        timing.pass(black_box(&shape))
    });
}

/// With four prompts in prefill.
#[divan::bench(sample_size = 10_000)]
fn mixed(bencher: Bencher<'_, '_>) {
    let mut timing = timing();
    let chunk = PrefillChunk { new_tokens: 141, context_tokens: 10_000 };
    let mut shape = shape(vec![chunk; 4]);
    bencher.bench_local(|| {
        shape.context_tokens += 500;
        shape.unique_context_tokens += 500;
        timing.pass(black_box(&shape))
    });
}

/// A new token count, without memoised parts.
#[divan::bench]
fn first_of_its_size(bencher: Bencher<'_, '_>) {
    let shape = shape(Vec::new());
    bencher.with_inputs(timing).bench_local_values(|mut timing| timing.pass(black_box(&shape)));
}
