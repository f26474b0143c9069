//! Resolution of an experiment: defaults, overrides, sweeps, seeds, order and hash.

use std::collections::BTreeSet;
use std::path::Path;

use weir_engine::{LoadMode, TimingConfig};
use weir_model::{Bytes, Nanos, TierKind};
use weir_spec::plan::{Arm, ArmRole, Origin, Plan};
use weir_spec::{Experiment, builtin, starter};

use crate::{SMALL, plan};

fn arm<'a>(plan: &'a Plan, name: &str) -> &'a Arm {
    let arms = &plan.deployments[0].arms;
    arms.iter().find(|arm| arm.name == name).expect("the arm is planned")
}

#[test]
fn vllm_defaults_follow_the_version() {
    let of = |version: &str| {
        let flag = format!("engine.vllm=\"{version}\"");
        let plan = plan(SMALL, &[&flag]).unwrap();
        let offload = arm(&plan, "native-offload").offload.clone().unwrap();
        let TimingConfig::Analytic(timing) = plan.deployments[0].timing.clone() else {
            panic!("timing is analytic")
        };
        (
            offload.copies_per_chunk,
            offload.store_cost_per_chunk > Nanos::ZERO,
            offload.prompt_only,
            timing.async_scheduling,
            timing.cascade_attention,
        )
    };
    // 36 layers, keys and values apart.
    assert_eq!(of("0.11.2"), (72, true, false, false, true));
    assert_eq!(of("0.12.0"), (1, false, false, true, true));
    assert_eq!(of("0.14.0"), (1, false, true, true, true));
    assert_eq!(of("0.32.0"), (1, false, true, true, false));
}

#[test]
fn engine_defaults_follow_the_accelerator() {
    let l40s = plan(SMALL, &["engine={}"]).unwrap().deployments.remove(0);
    assert_eq!((l40s.engine.max_num_seqs, l40s.engine.max_num_batched_tokens), (256, 2048));
    assert_eq!(l40s.tensor_parallel, 2, "all accelerators");
    let h100 = plan(SMALL, &["engine={}", "hardware=1x-h100"]).unwrap().deployments.remove(0);
    assert_eq!((h100.engine.max_num_seqs, h100.engine.max_num_batched_tokens), (1024, 8192));
    assert_eq!(h100.engine.max_model_len, 40_960);
}

#[test]
fn given_kv_tokens_replace_the_computed_ones() {
    let plan = plan(SMALL, &["engine.kv_tokens=50000"]).unwrap();
    assert_eq!(plan.deployments[0].engine.blocks, 3125);
}

#[test]
fn fp8_halves_the_cache() {
    let plan = plan(SMALL, &["engine.kv_cache_dtype=fp8"]).unwrap();
    assert_eq!(plan.deployments[0].engine.kv_bytes_per_token, 147_456 / 2);
}

#[test]
fn lmcache_has_its_own_defaults_and_a_host_tier_before_disk_and_store() {
    let plan = plan(SMALL, &["arms=[lmcache-local, lmcache-disk, lmcache-kvrocks]"]).unwrap();
    for name in ["lmcache-local", "lmcache-disk", "lmcache-kvrocks"] {
        let offload = arm(&plan, name).offload.clone().unwrap();
        assert_eq!(offload.chunk_tokens, 256);
        assert!(offload.prompt_only);
        assert_eq!(offload.load, LoadMode::InPass);
        assert_eq!(offload.tiers[0].kind, TierKind::Host);
        assert_eq!(offload.tiers[0].capacity, Bytes::from_gib(10));
        // Two ranks, each over its own PCIe 4 link.
        assert_eq!(offload.tiers[0].link.read_bytes_per_s, 48e9);
        assert_eq!(offload.tiers[0].link.per_copy, Nanos(3_500));
    }
    let store = arm(&plan, "lmcache-kvrocks").offload.clone().unwrap().store.unwrap();
    assert_eq!(store.policy, weir_tier::EvictionPolicy::None);
    assert!(plan.warnings.iter().any(|warning| warning.contains("kvrocks are assumptions")));
}

#[test]
fn overrides_change_engine_arms_and_load_of_one_model() {
    let text = format!(
        "{SMALL}overrides:\n  Qwen/Qwen3-0.6B:\n    engine: {{max_num_seqs: 8}}\n    \
         arms: {{native-offload: {{bytes: 100 blocks}}}}\n    load: {{users: 1, max_requests: 5}}\n"
    );
    let plan = plan(&text, &["models=[Qwen/Qwen3-8B, Qwen/Qwen3-0.6B]"]).unwrap();
    let [other, changed] = plan.deployments.as_slice() else { panic!("two deployments") };
    assert_eq!((other.engine.max_num_seqs, changed.engine.max_num_seqs), (256, 8));
    let capacity = |arm: &Arm| arm.offload.as_ref().unwrap().tiers[0].capacity;
    assert_eq!(capacity(&changed.arms[1]), Bytes(100 * 16 * 114_688));
    assert_eq!(capacity(&other.arms[1]), Bytes::from_gib(64));
    assert_eq!(changed.levels[0].name, "c1");
    assert_eq!(changed.levels[0].max_requests, Some(5));
    assert_eq!(changed.levels[0].duration, Some(Nanos::from_secs(10)), "kept");
    assert_eq!(
        plan.origins["overrides.\"Qwen/Qwen3-0.6B\".engine.max_num_seqs"],
        Origin::Override("Qwen/Qwen3-0.6B".to_owned())
    );
}

#[test]
fn sweeps_make_deployments_with_labels() {
    let plan = plan(
        SMALL,
        &[
            "hardware=[2x-l40s, 1x-h100]",
            "engine.gpu_memory_utilization=[0.9, 0.55]",
            "engine.tensor_parallel=1",
        ],
    )
    .unwrap();
    let labels: Vec<&str> = plan.deployments.iter().map(|d| d.label.as_str()).collect();
    assert_eq!(labels, ["2x-l40s-gmu0.9", "2x-l40s-gmu0.55", "1x-h100-gmu0.9", "1x-h100-gmu0.55"]);
    assert!(plan.deployments[0].engine.blocks > plan.deployments[1].engine.blocks);
    let paths: BTreeSet<&str> = plan.cells.iter().map(|cell| cell.path.as_str()).collect();
    assert_eq!(paths.len(), plan.cells.len(), "each cell has a folder of its own");
    assert_eq!(plan.cells[0].path, "Qwen--Qwen3-8B/2x-l40s-gmu0.9/no-offload/c2/0");
}

#[test]
fn all_arms_of_a_repeat_are_asked_the_same_and_stand_together() {
    let plan = plan(SMALL, &["repeats=2", "load.users=[1, 2]"]).unwrap();
    let order: Vec<(usize, u32, usize)> =
        plan.cells.iter().map(|cell| (cell.level, cell.repeat, cell.arm)).collect();
    let expected = (0..2).flat_map(|l| (0..2).flat_map(move |r| (0..2).map(move |a| (l, r, a))));
    assert_eq!(order, expected.collect::<Vec<_>>());
    for pair in plan.cells.chunks(2) {
        assert_eq!(pair[0].seed, pair[1].seed);
    }
    let seeds: BTreeSet<u64> = plan.cells.iter().map(|cell| cell.seed).collect();
    assert_eq!(seeds.len(), 4, "one per level and repeat");
}

#[test]
fn roles_follow_from_what_an_arm_combines() {
    let plan = plan(
        SMALL,
        &[
            "arms=[no-offload, no-offload-aa, llm-d-random, llm-d-approx, native-offload, \
             {preset: native-offload, name: both, routing: llm-d-redis}, \
             {preset: no-offload, name: chance, routing: random}, \
             {preset: no-offload, name: turns, routing: round-robin}]",
            "replicas=2",
        ],
    )
    .unwrap();
    let role = |name| (arm(&plan, name).role, arm(&plan, name).routing_is_claim);
    assert_eq!(role("no-offload"), (ArmRole::Control, false));
    assert_eq!(role("no-offload-aa"), (ArmRole::ControlAgain, false));
    assert_eq!(role("llm-d-random"), (ArmRole::RoutingControl, false));
    assert_eq!(role("llm-d-approx"), (ArmRole::Treatment, true));
    assert_eq!(role("native-offload"), (ArmRole::Treatment, false));
    assert_eq!(role("both"), (ArmRole::Treatment, true));
    assert_eq!(role("chance"), (ArmRole::RoutingControl, false));
    assert_eq!(role("turns"), (ArmRole::Control, false));
    assert!(arm(&plan, "both").offload.is_some());
}

#[test]
fn equal_resources_are_equal_over_all_tiers() {
    let plan = plan(
        SMALL,
        &[
            "arms=[native-offload, lmcache-local, lmcache-disk, lmcache-redis]",
            "equal_resources={bytes: 100GB, chunk_tokens: 64}",
        ],
    )
    .unwrap();
    for arm in &plan.deployments[0].arms {
        let offload = arm.offload.as_ref().unwrap();
        let local: Bytes = offload.tiers.iter().map(|tier| tier.capacity).sum();
        let remote = offload.store.as_ref().map_or(Bytes::ZERO, |store| store.capacity);
        assert_eq!(local + remote, Bytes(100_000_000_000), "{}", arm.name);
        assert_eq!(offload.chunk_tokens, 64, "{}", arm.name);
    }
}

#[test]
fn a_plan_survives_its_file_and_its_hash_ignores_origins() {
    let plan = plan(SMALL, &["workload.shared-prefix.think=1500ms"]).unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    let read: Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(read, plan);
    assert_eq!(read.plan_hash(), plan.plan_hash());
    let same = crate::plan(SMALL, &["workload.shared-prefix.think=1500ms", "seed=0"]).unwrap();
    assert_ne!(same.origins, plan.origins);
    assert_eq!(same.plan_hash(), plan.plan_hash());
    let other = crate::plan(SMALL, &["seed=1"]).unwrap();
    assert_ne!(other.plan_hash(), plan.plan_hash());
}

#[test]
fn a_model_comes_from_a_config_json_beside_the_experiment() {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"{"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4,
        "intermediate_size": 128, "vocab_size": 1000, "max_position_embeddings": 4096}"#;
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    let text = SMALL.replace("[Qwen/Qwen3-8B]", "[{config: config.json, name: tiny}]");
    let file = folder.path().join("experiment.yaml");
    std::fs::write(&file, text).unwrap();
    let plan = Plan::resolve(&Experiment::read(&file, &[]).unwrap()).unwrap();
    let model = &plan.deployments[0].model;
    assert_eq!((model.name.as_str(), model.head_dim, model.kv_heads), ("tiny", 16, 4));
    assert_eq!(plan.cells[0].path, "tiny/2x-l40s/no-offload/c2/0");
}

#[test]
fn built_in_texts_are_valid_and_the_built_in_experiment_acts() {
    for text in [starter(), builtin()] {
        let experiment = Experiment::parse(text, "built-in", Path::new(""), &[]).unwrap();
        let plan = Plan::resolve(&experiment).unwrap();
        let effective = plan
            .cells
            .iter()
            .filter(|cell| cell.prediction.verdict == weir_model::Verdict::Effective);
        assert!(effective.count() >= 2, "offloading acts at some level");
    }
}
