//! `size`: against published times of vLLM's offload on one H100.

use weir_engine::timing::{Timing, TimingModel};
use weir_model::{Mechanism, TierKind};
use weir_spec::cost::{CostBasis, hour_price};
use weir_spec::size::sizes;

#[test]
fn loads_from_host_memory_take_the_published_time() {
    let text = crate::SMALL.replace("[Qwen/Qwen3-8B]", "[meta-llama/Llama-3.1-8B]");
    let plan = crate::plan(&text, &["hardware=1x-h100", "arms=[native-offload]"]).unwrap();
    let deployment = &plan.deployments[0];
    let mut timing = Timing::new(&deployment.timing).unwrap();
    let budget = deployment.engine.max_num_batched_tokens;
    // Tokens, published TTFT computed and from host memory (ms), of which 12 ms are the front
    // end's.
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
    // 39 chunks are looked up one after another, then 1.47 GB come at 1.3 GB/s.
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

/// Kvrocks is on disks: its 100 GiB at 0.73 a month are 0.1 an hour beside a Redis' 1.
#[test]
fn a_store_on_disks_has_its_own_price() {
    let arms = "arms=[no-offload, {preset: lmcache-redis, bytes: 1GiB, store: {bytes: 100GiB}}, \
                {preset: lmcache-kvrocks, bytes: 1GiB, store: {bytes: 100GiB}}]";
    let stores = |prices: &str| {
        let plan = crate::plan(crate::SMALL, &[arms, prices]).unwrap();
        let of = &plan.deployments[0];
        let base = hour_price(&plan.prices, of, &of.arms[0]).unwrap();
        let hours =
            of.arms[1..].iter().map(|arm| hour_price(&plan.prices, of, arm).unwrap() - base);
        (hours.collect::<Vec<f64>>(), CostBasis::of(&plan.prices, of))
    };
    let near = |seen: f64, wanted: f64| (seen - wanted).abs() < 1e-9;
    let both = "prices={gpu_hour: 1 USD, store_gib_month: 7.3 USD, kvrocks_gib_month: 0.73 USD}";
    let (hours, basis) = stores(both);
    assert!(near(hours[0], 1.0) && near(hours[1], 0.1), "{hours:?}");
    assert_eq!(basis.priced, [TierKind::Remote]);
    // Without its own price it has that of all stores.
    let (hours, _) = stores("prices={gpu_hour: 1 USD, store_gib_month: 7.3 USD}");
    assert!(near(hours[1], 1.0), "{hours:?}");
    // A Redis without a price is reported, though the Kvrocks has one.
    let (hours, basis) = stores("prices={gpu_hour: 1 USD, kvrocks_gib_month: 0.73 USD}");
    assert!(near(hours[0], 0.0) && near(hours[1], 0.1), "{hours:?}");
    assert_eq!((basis.priced.len(), basis.unpriced), (0, vec![TierKind::Host, TierKind::Remote]));
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

/// The folder must outlive the experiment.
fn with_model(config: &serde_json::Value) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("config.json");
    std::fs::write(&path, config.to_string()).expect("it can be written");
    let models = format!("[{{config: {}, name: mine}}]", path.display());
    (folder, crate::SMALL.replace("[Qwen/Qwen3-8B]", &models))
}

/// Of 30 layers every sixth is full, with 2 heads of 512; windows of 1024 have 8 heads of 256.
fn gemma4() -> serde_json::Value {
    let kinds: Vec<&str> = (1..=30)
        .map(|layer| if layer % 6 == 0 { "full_attention" } else { "sliding_attention" })
        .collect();
    serde_json::json!({
        "model_type": "gemma4_text", "num_hidden_layers": 30, "hidden_size": 2816,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256,
        "global_head_dim": 512, "num_global_key_value_heads": 2, "attention_k_eq_v": true,
        "intermediate_size": 2112, "vocab_size": 262_144, "max_position_embeddings": 32_768,
        "sliding_window": 1024, "layer_types": kinds, "tie_word_embeddings": true,
    })
}

#[test]
fn windows_take_their_room_in_tiers_and_in_the_pool_of_a_connector_that_keeps_them() {
    let (_kept, text) = with_model(&gemma4());
    let arms = "arms=[no-offload, {preset: native-offload, bytes: 22528MB}, \
                {preset: lmcache-local, bytes: 22528MB, lmcache_mode: in-process}, \
                {preset: lmcache-local, name: server, bytes: 22528MB, lmcache_mode: server}]";
    let plan = crate::plan(&text, &["hardware=1x-h100", arms]).unwrap();
    let deployment = &plan.deployments[0];
    // 5 x 2 x 2 x 512 x 2 grow; with 25 x 8 x 2 x 256 x 2 of the windows a token has 225,280.
    assert_eq!(deployment.engine.kv_bytes_per_token, 20_480);
    for arm in &deployment.arms[1..] {
        let sizes = sizes(deployment, arm, 10_000, None, &plan.prices);
        assert_eq!(sizes.tiers[0].tokens, 100_000, "{}", arm.name);
        assert_eq!(sizes.offloaded.unwrap().kept, weir_model::Bytes(2_252_800_000));
    }
    let [control, native, in_engine, server] = &deployment.arms[..] else { panic!("four arms") };
    let moved =
        |arm| sizes(deployment, arm, 10_000, None, &plan.prices).offloaded.unwrap().loaded.0;
    // All full layers and 64 blocks of windows of 5 layers each; LMCache moves what it keeps.
    assert_eq!(moved(native), 204_800_000 + 5 * 64 * 16 * 5 * 8192);
    assert_eq!((moved(in_engine), moved(server)), (2_252_800_000, 2_252_800_000));
    // LMCache in the engine makes vLLM keep windows of every token in its pool, too.
    let engine = deployment.engine_of(in_engine);
    assert_eq!(engine.kv_bytes_per_token, 225_280);
    let pool = |arm| sizes(deployment, arm, 10_000, None, &plan.prices).pool.tokens;
    // 10,000 tokens take 313 + 5 x 65 blocks of 655,360 bytes, or 225,280 bytes each.
    let ratio = pool(control) as f64 / pool(in_engine) as f64;
    assert!((ratio / (2_252.8e6 / (638.0 * 655_360.0)) - 1.0).abs() < 0.001, "{ratio}");
    for arm in [control, native, server] {
        assert_eq!(deployment.engine_of(arm), &deployment.engine, "{}", arm.name);
    }
    let told = |plan: &weir_spec::Plan| {
        plan.warnings.iter().any(|warning| warning.contains("hybrid KV cache manager off"))
    };
    assert!(told(&plan), "{:?}", plan.warnings);
    // Before 0.22 every connector switches the manager off.
    let plan = crate::plan(&text, &["hardware=1x-h100", arms, "engine.vllm=0.21.0"]).unwrap();
    for arm in &plan.deployments[0].arms[1..] {
        assert_eq!(plan.deployments[0].engine_of(arm).kv_bytes_per_token, 225_280, "{}", arm.name);
    }
}

#[test]
fn states_are_refused_where_the_connector_keeps_vllm_from_starting() {
    let kinds: Vec<&str> = (1..=8)
        .map(|layer| if layer % 4 == 0 { "full_attention" } else { "linear_attention" })
        .collect();
    let (_kept, text) = with_model(&serde_json::json!({
        "model_type": "qwen3_5_text", "num_hidden_layers": 8, "hidden_size": 1024,
        "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256,
        "intermediate_size": 3072, "vocab_size": 248_320, "max_position_embeddings": 32_768,
        "layer_types": kinds, "linear_num_key_heads": 16, "linear_key_head_dim": 128,
        "linear_num_value_heads": 16, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4,
        "mamba_ssm_dtype": "float32", "tie_word_embeddings": true,
    }));
    let plan = |sets: &[&str]| crate::plan(&text, &[&["hardware=1x-h100"], sets].concat());
    let in_engine = "arms=[{preset: lmcache-local, lmcache_mode: in-process}]";
    let error = plan(&[in_engine]).unwrap_err().to_string();
    assert!(error.starts_with("arms.lmcache-local: ") && error.contains("lmcache_mode: server"));
    let error = plan(&["arms=[native-offload]", "engine.vllm=0.21.0"]).unwrap_err().to_string();
    assert!(error.contains("mine") && error.contains("0.22 or later"), "{error}");
    // By default LMCache runs where it can.
    let plan = plan(&["arms=[lmcache-local, native-offload]"]).unwrap();
    let offload = |arm: usize| plan.deployments[0].arms[arm].offload.as_ref().unwrap();
    assert_eq!(offload(0).mechanism, Mechanism::LmcacheServer);
    // Two full layers of 2 x 512 x 2 bytes, and 6 states of (2 x 2048 + 2048) x 3 x 2 and
    // 16 x 128 x 128 x 4 per chunk of 544 tokens (a block whose page holds a state).
    let state: u64 = 6144 * 3 * 2 + 16 * 128 * 128 * 4;
    let block = state.div_ceil(16 * 2048) * 16;
    assert_eq!((plan.deployments[0].engine.block_size as u64, block), (block, 544));
    assert_eq!(offload(0).chunk_tokens as u64, block);
    assert_eq!(offload(0).chunk_bytes.kept, 2 * 2048 * block + 6 * state);
    // Three tables of states of two layers each.
    assert_eq!(offload(1).chunk_bytes.kept, 4 * 2 * 2048 * block);
}

#[test]
fn sparse_latents_in_8_bits_are_packed_as_the_kernels_want_them() {
    let (_kept, text) = with_model(&serde_json::json!({
        "model_type": "deepseek_v32", "num_hidden_layers": 61, "hidden_size": 7168,
        "num_attention_heads": 128, "num_key_value_heads": 128, "kv_lora_rank": 512,
        "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
        "index_head_dim": 128, "index_n_heads": 64, "index_topk": 2048,
        "intermediate_size": 18_432, "vocab_size": 129_280, "max_position_embeddings": 163_840,
    }));
    let per_token = |hardware: &str, dtype: &str| {
        let (hardware, dtype) =
            (format!("hardware={hardware}"), format!("engine.kv_cache_dtype={dtype}"));
        let plan = crate::plan(&text, &[&hardware, &dtype, "arms=[no-offload]"]).unwrap();
        plan.deployments[0].engine.kv_bytes_per_token
    };
    // 512 fp8, 4 scales of 4 bytes and 64 x 2 of the rotary part; index keys are 132 bytes.
    assert_eq!(per_token("8x-h200", "fp8"), 61 * (656 + 132));
    assert_eq!(per_token("8x-b200", "fp8"), 61 * (576 + 132));
    assert_eq!(per_token("8x-h200", "auto"), 61 * (1152 + 132));
}

#[test]
fn unknown_quantization_asks_for_bytes_and_takes_the_times_from_them() {
    let config = serde_json::json!({
        "_name_or_path": "nvidia/Some-8B-NVFP4", "torch_dtype": "bfloat16",
        "num_hidden_layers": 36, "hidden_size": 4096, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 12_288,
        "vocab_size": 151_936, "max_position_embeddings": 40_960, "tie_word_embeddings": false,
    });
    let (folder, text) = with_model(&config);
    let error = crate::error(&text, &[]);
    assert!(error.contains("`NVFP4`") && error.contains("weight_bytes"), "{error}");
    // 6,945,767,424 weights of the layers in 0.5625 bytes, 1,244,659,712 outside in 2.
    let path = folder.path().join("config.json");
    let models = format!("models=[{{config: {}, weight_bytes: 6396.3136MB}}]", path.display());
    let plan = crate::plan(&text, &[&models]).unwrap();
    let model = &plan.deployments[0].model;
    assert!((model.bytes_per_weight - 0.5625).abs() < 0.001, "{}", model.bytes_per_weight);
    assert!(plan.warnings.iter().all(|warning| !warning.contains("bytes per weight")));
    // The assumption is reported where weights cannot be counted.
    let mut strange = config;
    strange["moe_latent_size"] = serde_json::json!(1024);
    std::fs::write(&path, strange.to_string()).unwrap();
    let plan = crate::plan(&text, &[&models]).unwrap();
    assert!(plan.warnings.iter().any(|warning| warning.contains("2 bytes per weight")));
}
