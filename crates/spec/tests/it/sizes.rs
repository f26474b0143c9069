//! `size`: against published times of vLLM's offload on one H100.

use weir_engine::timing::{Timing, TimingModel};
use weir_spec::size::sizes;

#[test]
fn loads_from_host_memory_take_the_published_time() {
    let text = crate::SMALL.replace("[Qwen/Qwen3-8B]", "[meta-llama/Llama-3.1-8B]");
    let plan = crate::plan(&text, &["hardware=1x-h100", "arms=[native-offload]"]).unwrap();
    let deployment = &plan.deployments[0];
    let mut timing = Timing::new(&deployment.timing).unwrap();
    let budget = deployment.engine.max_num_batched_tokens;
    // Tokens, published TTFT computed and from host memory (ms); 12 ms are the front end's.
    for (tokens, computed_ms, loaded_ms) in
        [(10_000, 262.0, 38.0), (50_000, 2292.0, 158.0), (100_000, 6855.0, 308.0)]
    {
        let prefill = timing.prefill_time(tokens, 0, budget);
        let sizes = sizes(deployment, &deployment.arms[0], tokens, prefill);
        let load = sizes.tiers[1].load.unwrap().as_millis_f64() + 12.0;
        assert!((load / loaded_ms - 1.0).abs() < 0.15, "{tokens}: {load} ms");
        // The link is 51 GB/s; break-even is far below, and what the published times say.
        let published = sizes.prefix_bytes.0 as f64 / ((computed_ms - 12.0) * 1e6);
        let break_even = sizes.break_even_gb_per_s.unwrap();
        assert!((break_even / published - 1.0).abs() < 0.3, "{break_even} or {published} GB/s");
    }
}

#[test]
fn tiers_hold_whole_prefixes() {
    let plan = crate::plan(
        crate::SMALL,
        &["arms=[{preset: lmcache-redis, bytes: 25000 tokens, store: {bytes: 99000 tokens}}]"],
    )
    .unwrap();
    let deployment = &plan.deployments[0];
    let sizes = sizes(deployment, &deployment.arms[0], 10_000, weir_model::Nanos::ZERO);
    let held: Vec<(&str, u64)> =
        sizes.tiers[1..].iter().map(|tier| (tier.name.as_str(), tier.prefixes)).collect();
    assert_eq!(held, [("host", 2), ("redis", 9)]);
    assert_eq!(sizes.prefix_bytes, weir_model::Bytes(1_474_560_000));
    assert_eq!(sizes.break_even_gb_per_s, None);
    // 39 chunks are asked for one after another, then 1.47 GB come at 1.3 GB/s.
    let load = sizes.tiers[2].load.unwrap().as_millis_f64();
    assert!((load - 1138.6).abs() < 1.0, "{load}");
}
