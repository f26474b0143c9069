//! `size`: against published times of vLLM's offload on one H100.

use weir_engine::timing::{Timing, TimingModel};
use weir_model::TierKind;
use weir_spec::cost::{CostBasis, hour_price};
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
        let sizes = sizes(deployment, &deployment.arms[0], tokens, Some(prefill), &plan.prices);
        let load = sizes.tiers[0].load.unwrap().as_millis_f64() + 12.0;
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
    let sizes = sizes(deployment, &deployment.arms[0], 10_000, None, &plan.prices);
    let held: Vec<(&str, u64)> =
        sizes.tiers.iter().map(|tier| (tier.name.as_str(), tier.prefixes)).collect();
    assert_eq!(held, [("host", 2), ("redis", 9)]);
    assert_eq!(sizes.prefix_bytes, weir_model::Bytes(1_474_560_000));
    assert_eq!(sizes.break_even_gb_per_s, None);
    // 39 chunks are asked for one after another, then 1.47 GB come at 1.3 GB/s.
    let load = sizes.tiers[1].load.unwrap().as_millis_f64();
    assert!((load - 1138.6).abs() < 1.0, "{load}");
}

#[test]
fn latents_count_once_over_ranks() {
    let text = crate::SMALL.replace("[Qwen/Qwen3-8B]", "[deepseek-ai/DeepSeek-V3]");
    let arms = "arms=[native-offload, lmcache-redis]";
    let plan = crate::plan(&text, &["hardware=8x-h200", arms]).unwrap();
    let deployment = &plan.deployments[0];
    // 61 x (512 + 64) x 2, at TP 8 as at TP 1.
    assert_eq!(deployment.engine.kv_bytes_per_token, 70_272);
    for (arm, tier) in [(0, 0), (1, 1)] {
        let sizes = sizes(deployment, &deployment.arms[arm], 10_000, None, &plan.prices);
        assert_eq!(sizes.prefix_bytes, weir_model::Bytes(702_720_000));
        // 64 GiB / 70,272.
        assert_eq!(sizes.tiers[tier].tokens, 977_906);
    }
    // Each rank loads the whole over its own link: 51 GB/s at best, not eight times that.
    let host = &deployment.arms[0].offload.as_ref().unwrap().tiers[0].link;
    assert!(host.read_bytes_per_s < 60e9, "{}", host.read_bytes_per_s);
}

#[test]
fn prices_tell_when_a_tier_pays_for_itself() {
    let sets = [
        "arms=[{preset: native-offload, bytes: 64GiB}]",
        "prices={gpu_hour: 1.8 USD, host_gib_month: 2 USD}",
    ];
    let plan = crate::plan(crate::SMALL, &sets).unwrap();
    let deployment = &plan.deployments[0];
    let second = Some(weir_model::Nanos::from_secs(1));
    let sizes = sizes(deployment, &deployment.arms[0], 10_000, second, &plan.prices);
    let tier = &sizes.tiers[0];
    let cost = tier.cost.unwrap();
    assert_eq!(cost.per_month, 128.0);
    // Two GPUs at 1.8 an hour are 0.001 a second; the load takes its share of it.
    let saved = 0.001 * (1.0 - tier.load.unwrap().as_secs_f64());
    assert!((cost.saved_per_load.unwrap() / saved - 1.0).abs() < 1e-9, "{cost:?}");
    let other = crate::error(crate::SMALL, &["prices={gpu_hour: 1 USD, disk_gib_month: 1 EUR}"]);
    assert!(other.contains("prices.disk_gib_month") && other.contains("one currency"), "{other}");
    let free = crate::error(crate::SMALL, &["prices={gpu_hour: 0 USD}"]);
    assert!(free.contains("prices.gpu_hour") && free.contains("above 0"), "{free}");
}

/// Two replicas of two GPUs at 1.8 an hour are 7.2; 64 GiB of host memory on each at 3.65 a month
/// are 0.64 an hour; one store of 100 GiB at 7.3 a month is 1 an hour.
#[test]
fn an_hour_of_an_arm_holds_its_tiers_where_they_have_a_price() {
    let arms = "arms=[no-offload, {preset: native-offload, bytes: 64GiB}, {preset: lmcache-redis, \
                bytes: 64GiB, store: {bytes: 100GiB}}]";
    let hours = |prices: &str| {
        let sets = [arms, "replicas=2", prices];
        let plan = crate::plan(crate::SMALL, &sets).unwrap();
        let of = &plan.deployments[0];
        let hours: Vec<Option<f64>> =
            of.arms.iter().map(|arm| hour_price(&plan.prices, of, arm)).collect();
        (hours, CostBasis::of(&plan.prices, of))
    };
    let near = |seen: Option<f64>, wanted: f64| (seen.unwrap() - wanted).abs() < 1e-9;
    let (of, basis) = hours("prices={gpu_hour: 1.8 USD}");
    assert!(of.iter().all(|hour| near(*hour, 7.2)), "{of:?}");
    assert_eq!((basis.priced.len(), basis.unpriced), (0, vec![TierKind::Host, TierKind::Remote]));
    let (of, basis) = hours("prices={gpu_hour: 1.8 USD, host_gib_month: 3.65 USD}");
    assert!(near(of[0], 7.2) && near(of[1], 7.84), "{of:?}");
    assert_eq!((basis.priced, basis.unpriced), (vec![TierKind::Host], vec![TierKind::Remote]));
    let all = "prices={gpu_hour: 1.8 USD, host_gib_month: 3.65 USD, store_gib_month: 7.3 USD}";
    let (with_store, basis) = hours(all);
    assert!(near(with_store[2], of[2].unwrap() + 1.0), "{with_store:?}");
    assert!(basis.unpriced.is_empty());
    let (none, _) = hours("prices={host_gib_month: 3.65 USD}");
    assert_eq!(none, [None; 3]);
}

/// LMCache's default is 5 GiB on each rank: at two ranks 10 GiB, which are 81,920 tokens of
/// 131,072 bytes.
#[test]
fn what_lmcache_takes_by_itself_is_per_rank() {
    let text = crate::SMALL.replace("[Qwen/Qwen3-8B]", "[meta-llama/Llama-3.1-8B]");
    for (ranks, tokens) in [(1, 40_960), (2, 81_920)] {
        let ranks = format!("engine.tensor_parallel={ranks}");
        let sets = ["hardware=2x-h100", &ranks, "arms=[lmcache-local, lmcache-redis]"];
        let plan = crate::plan(&text, &sets).unwrap();
        let deployment = &plan.deployments[0];
        for arm in &deployment.arms {
            let sizes = sizes(deployment, arm, 10_000, None, &plan.prices);
            assert_eq!(sizes.tiers[0].tokens, tokens, "{}", arm.name);
        }
    }
}
