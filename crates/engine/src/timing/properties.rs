//! Properties of every shape: more work never takes less time, memoising changes nothing.

use proptest::prelude::*;
use weir_model::Nanos;
use weir_model::shape::LatentAttention;

use super::fixtures::{l40s, model, on_h100, on_l40s};
use super::{AnalyticTiming, PassShape, PrefillChunk, Timing, TimingModel};
use crate::config::{AnalyticConfig, TimingConfig};

/// Over one prefix, each with a context of its own.
fn decode_only(decoding: u32, prefix: u32, own: u32) -> PassShape {
    let own_tokens = u64::from(decoding) * u64::from(own);
    PassShape {
        decoding,
        context_tokens: u64::from(decoding) * u64::from(prefix) + own_tokens,
        unique_context_tokens: u64::from(prefix) + own_tokens,
        shared_prefix_tokens: prefix,
        ..PassShape::default()
    }
}

fn timing(config: &AnalyticConfig) -> AnalyticTiming {
    AnalyticTiming::new(config).unwrap()
}

/// The configuration with asynchronous scheduling in [`configs`].
const OVERLAPPED: usize = 3;

fn configs() -> Vec<AnalyticConfig> {
    let mut latent = on_h100("Qwen/Qwen3-30B-A3B", 2);
    latent.model.latent = Some(LatentAttention { rank: 512, rope: 64 });
    let mut fp8 = on_h100("meta-llama/Llama-3.1-8B", 1);
    fp8.model.bytes_per_weight = 1.0;
    let mut overlapped = on_l40s("Qwen/Qwen3-8B", 2);
    overlapped.async_scheduling = true;
    overlapped.cascade_attention = false;
    let dense = on_l40s("Qwen/Qwen3-32B-AWQ", 4);
    vec![dense, latent, fp8, overlapped, on_h100("openai/gpt-oss-120b", 1)]
}

prop_compose! {
    fn shapes()(
        decoding in 8_u32..600,
        prefix in prop_oneof![Just(0_u32), 16_u32..20_000],
        own in 1_u32..4_000,
        chunks in prop::collection::vec((1_u32..4_000, 0_u32..40_000), 0..4),
    ) -> PassShape {
        let prefill = chunks
            .into_iter()
            .map(|(new_tokens, context)| PrefillChunk {
                new_tokens,
                context_tokens: prefix + context,
            })
            .collect();
        PassShape { prefill, ..decode_only(decoding, prefix, own) }
    }
}

proptest! {
    #[test]
    fn more_work_never_takes_less_time(shape in shapes(), which in 0_usize..5, more in 1_u32..900) {
        let mut timing = timing(&configs()[which]);
        let before = timing.pass(&shape);

        let mut larger = shape.clone();
        let each = u64::from(shape.shared_prefix_tokens) + 1;
        larger.decoding += more;
        larger.context_tokens += u64::from(more) * each;
        larger.unique_context_tokens += u64::from(more);
        prop_assert!(timing.pass(&larger) >= before, "more sequences");

        let mut larger = shape.clone();
        larger.context_tokens += u64::from(more);
        larger.unique_context_tokens += u64::from(more);
        prop_assert!(timing.pass(&larger) >= before, "more context");

        let mut larger = shape.clone();
        let context_tokens = shape.shared_prefix_tokens;
        larger.prefill.push(PrefillChunk { new_tokens: more, context_tokens });
        let with_chunk = timing.pass(&larger);
        prop_assert!(with_chunk > before, "one more chunk");

        let mut longer = larger.clone();
        longer.prefill.last_mut().unwrap().new_tokens += more;
        // In a pass that the CPU bounds, GPU work is hidden.
        let hidden = which == OVERLAPPED && timing.pass(&longer) == with_chunk;
        prop_assert!(hidden || timing.pass(&longer) > with_chunk, "a longer chunk");

        larger.prefill.last_mut().unwrap().context_tokens += more;
        prop_assert!(timing.pass(&larger) >= with_chunk, "a chunk behind more context");
    }

    #[test]
    fn what_is_kept_changes_no_answer(
        shapes in prop::collection::vec(shapes(), 1..12),
        which in 0_usize..5,
    ) {
        let config = &configs()[which];
        let mut warm = timing(config);
        for shape in shapes.iter().chain(&shapes) {
            let parts = warm.parts(shape);
            prop_assert_eq!(warm.pass(shape), timing(config).pass(shape));
            let gpu = parts.products
                + parts.elementwise
                + parts.all_reduce
                + parts.head
                + parts.attention;
            let seconds =
                if config.async_scheduling { gpu.max(parts.cpu) } else { gpu + parts.cpu };
            let difference = warm.pass(shape).0.abs_diff(Nanos::from_secs_f64(seconds).0);
            prop_assert!(difference <= 1, "parts add up to the pass");
        }
    }
}

#[test]
fn an_empty_pass_costs_the_cpu_alone() {
    let mut timing = timing(&on_l40s("Qwen/Qwen3-8B", 2));
    assert_eq!(timing.pass(&PassShape::default()), Nanos::from_micros(2_500));
    assert_eq!(timing.front_end(), Nanos::from_millis(12));
}

#[test]
fn counts_beyond_the_tables_are_computed() {
    let mut timing = timing(&on_l40s("Qwen/Qwen3-8B", 2));
    let chunk = PrefillChunk { new_tokens: 1_000_000, context_tokens: 0 };
    let shape = PassShape { prefill: vec![chunk], ..PassShape::default() };
    let first = timing.pass(&shape);
    assert!(first > Nanos::from_secs(60), "{first:?}");
    assert_eq!(timing.pass(&shape), first);
}

#[test]
fn one_bf16_pass_by_hand() {
    // Llama-3.1-8B on one H100, 2,048 tokens: far into the compute limit of every product.
    // 6.979e9 weights in the layers, so 2 * 2048 * 6.979e9 = 28.6 TFLOP at .815 * 989 TFLOP/s
    // = 35.5 ms; the blend adds a few per cent for the memory limit.
    let timing = timing(&on_h100("meta-llama/Llama-3.1-8B", 1));
    let chunk = PrefillChunk { new_tokens: 2_048, context_tokens: 0 };
    let parts = timing.parts(&PassShape { prefill: vec![chunk], ..PassShape::default() });
    assert!((35.5e-3..37.0e-3).contains(&parts.products), "{parts:?}");
    // 4 * 32 * 128 * 2048^2 / 2 * 32 layers = 1.10 TFLOP at .60 * 2048 / 3148 of the peak.
    assert!((2.80e-3..2.88e-3).contains(&parts.attention), "{parts:?}");
    assert_eq!(parts.all_reduce, 0.0);
    assert!((parts.cpu - 2.54e-3).abs() < 1e-12);
}

#[test]
fn a_shared_prefix_is_read_once_by_cascade_and_cheaper_from_l2() {
    let shape = decode_only(400, 10_000, 200);
    let cascade = timing(&on_l40s("Qwen/Qwen3-8B", 2));
    let mut config = on_l40s("Qwen/Qwen3-8B", 2);
    config.cascade_attention = false;
    let l2 = timing(&config);
    config.accelerator.l2_mib = 4;
    let memory = timing(&config);
    let [cascade, l2, memory] = [cascade, l2, memory].map(|timing| timing.parts(&shape).attention);
    assert!(cascade < 0.25 * l2 && l2 < 0.5 * memory, "{cascade} {l2} {memory}");
    // 400 * 10,200 tokens of 2,048 bytes in 36 layers: 301 GB at .84 * 864 GB/s.
    assert!((memory - 0.4149).abs() < 0.001, "{memory}");
}

#[test]
fn cascade_needs_a_prefix_and_sequences_enough() {
    let config = on_l40s("Qwen/Qwen3-8B", 2);
    let mut without = config.clone();
    without.cascade_attention = false;
    for shape in [decode_only(7, 10_000, 200), decode_only(400, 255, 200)] {
        assert_eq!(timing(&config).pass(&shape), timing(&without).pass(&shape));
    }
}

#[test]
fn fewer_bytes_per_weight_are_read_faster() {
    let shape = decode_only(1, 0, 100);
    let mut config = on_h100("meta-llama/Llama-3.1-8B", 1);
    let [bf16, fp8, int4] = [2.0, 1.0, 0.55].map(|bytes| {
        config.model.bytes_per_weight = bytes;
        timing(&config).parts(&shape).products
    });
    assert!(int4 < 0.7 * fp8 && fp8 < 0.7 * bf16, "{bf16} {fp8} {int4}");
}

#[test]
fn latent_attention_decodes_on_its_compressed_cache() {
    let mut config = on_h100("Qwen/Qwen3-30B-A3B", 1);
    config.model.latent = Some(LatentAttention { rank: 512, rope: 64 });
    config.model.kv_heads = 32;
    let shape = decode_only(64, 0, 16_000);
    let compressed = timing(&config).parts(&shape).attention;
    config.model.latent = None;
    let full = timing(&config).parts(&shape).attention;
    // 1,152 bytes against 2 * 32 * 128 * 2 = 16,384 bytes per token and layer.
    assert!(compressed < full / 10.0, "{compressed} {full}");
}

#[test]
fn all_reduce_of_three_ranks_lies_between_two_and_four() {
    let mut config = on_l40s("Qwen/Qwen3-8B", 1);
    config.model.heads = 24;
    let shape = decode_only(300, 0, 100);
    let mut times = Vec::new();
    for ranks in [1, 2, 3, 4, 8, 12] {
        config.tensor_parallel = ranks;
        times.push(timing(&config).parts(&shape).all_reduce);
    }
    assert_eq!(times[0], 0.0);
    assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{times:?}");
    assert!(times[1] < times[2] && times[2] < times[3], "{times:?}");
    assert_eq!(times[4], times[5]);
}

#[test]
fn large_messages_are_slower_over_pcie_alone() {
    let per_token = |config: &AnalyticConfig, tokens| {
        let all_reduce = timing(config).parts(&decode_only(tokens, 0, 1)).all_reduce;
        all_reduce / f64::from(tokens)
    };
    // 8,192 bytes per token: 1,024 tokens reach 8 MiB.
    let pcie = on_l40s("Qwen/Qwen3-8B", 2);
    assert!(per_token(&pcie, 1_024) > 1.2 * per_token(&pcie, 1_023));
    let nvlink = on_h100("Qwen/Qwen3-8B", 2);
    assert!(per_token(&nvlink, 1_024) < per_token(&nvlink, 1_023));
}

#[test]
fn figures_that_give_no_time_are_named() {
    let refused = |config: AnalyticConfig| {
        Timing::new(&TimingConfig::Analytic(Box::new(config))).unwrap_err().to_string()
    };
    let good = on_l40s("Qwen/Qwen3-8B", 2);

    let mut config = good.clone();
    config.tensor_parallel = 3;
    assert_eq!(
        refused(config),
        "Qwen/Qwen3-8B: tensor_parallel 3 does not divide its 32 heads; use a divisor of 32"
    );
    let mut config = good.clone();
    config.tensor_parallel = 0;
    assert!(refused(config).contains("tensor_parallel is 0"));
    let mut config = good.clone();
    config.accelerator.memory_gb_per_s = f64::NAN;
    assert_eq!(
        refused(config),
        "l40s: memory_gb_per_s is NaN; a pass time needs a finite number above 0"
    );
    let mut config = good.clone();
    config.accelerator.fit.all_reduce.clear();
    assert!(refused(config.clone()).starts_with("l40s: no all_reduce figures"));
    config.tensor_parallel = 1;
    assert!(Timing::new(&TimingConfig::Analytic(Box::new(config))).is_ok());
    let mut config = AnalyticConfig { model: model("Qwen/Qwen3-30B-A3B"), ..good };
    config.accelerator = l40s();
    config.model.experts = config.model.experts.map(|mut experts| {
        experts.active = 200;
        experts
    });
    assert!(refused(config).contains("experts.count - active + 1 is -71"));
}
