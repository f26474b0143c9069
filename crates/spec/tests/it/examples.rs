//! The examples resolve, and their predictions are the known outcomes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use weir_model::{OverheadReason, Verdict, VoidReason};
use weir_spec::plan::{ArmRole, Cell, Plan, Regime};
use weir_spec::{Experiment, SpecError};

fn example(name: &str, sets: &[&str]) -> Result<Plan, SpecError> {
    let path: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../examples/{name}.yaml"));
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    Plan::resolve(&Experiment::read(&path, &sets)?)
}

fn cell<'a>(plan: &'a Plan, path: &str) -> &'a Cell {
    plan.cells.iter().find(|cell| cell.path == path).unwrap_or_else(|| panic!("no cell {path}"))
}

#[test]
fn the_published_evaluation_measured_no_offloading() {
    let plan = example("published-evaluation", &[]).unwrap();
    assert_eq!(plan.deployments.len(), 4);
    assert_eq!(plan.cells.len(), 7 * (3 * 8 + 5));
    for cell in &plan.cells {
        let arm = &plan.deployments[cell.deployment].arms[cell.arm];
        let expected = match arm.role {
            ArmRole::Control => Verdict::Control,
            _ if arm.routing_is_claim => Verdict::Void(VoidReason::NoChoice),
            _ => Verdict::OverheadOnly(OverheadReason::FitsGpu),
        };
        assert_eq!(cell.prediction.verdict, expected, "{}", cell.path);
        assert_eq!(cell.prediction.regime, Regime::FitsGpu, "{}", cell.path);
        let has_remedy = cell.prediction.remedy.is_some();
        assert_eq!(has_remedy, expected != Verdict::Control, "{}", cell.path);
    }
}

#[test]
fn the_published_pools_are_planned() {
    let plan = example("published-evaluation", &["load.users=[1]"]).unwrap();
    for (deployment, tokens) in
        plan.deployments.iter().zip([635_200.0, 390_704.0, 269_712.0, 208_080.0])
    {
        let planned = f64::from(deployment.engine.blocks * deployment.engine.block_size);
        let error = planned / tokens - 1.0;
        assert!(error.abs() < 0.02, "{}: {planned} of {tokens}", deployment.model.name);
    }
}

#[test]
fn two_prefixes_per_user_do_not_fit_the_gpus() {
    // Overrides of models that a flag removed do not matter.
    let sets = ["load.users=[1, 50]", "models=[Qwen/Qwen3-8B]"];
    let plan = example("capacity-bound", &sets).unwrap();
    assert_eq!(plan.deployments.len(), 2);
    let at = |arm: &str, level: &str| {
        cell(&plan, &format!("Qwen--Qwen3-8B/2x-l40s-gmu0.9/{arm}/{level}/0")).prediction.clone()
    };
    assert_eq!(at("native-large", "c50").verdict, Verdict::Effective);
    assert_eq!(at("native-large", "c50").regime, Regime::FitsTier);
    assert_eq!(at("native-large", "c1").regime, Regime::FitsGpu);
    assert_eq!(at("no-offload", "c50").regime, Regime::Overflows);
    assert_eq!(
        at("lmcache-local", "c50").verdict,
        Verdict::OverheadOnly(OverheadReason::TierTooSmall)
    );
    let small = "The largest tier of lmcache-local (18 GiB) is smaller than the GPU pool \
                 (53.5 GiB) in 2 of 2 deployments, most of all for Qwen/Qwen3-8B on \
                 2x-l40s-gmu0.9: it mostly holds copies of what the GPU has.";
    assert!(plan.warnings.iter().any(|warning| warning == small), "{:#?}", plan.warnings);
}

#[test]
fn the_mooncake_example_says_where_its_trace_should_be() {
    // A flag's path starts from the working directory, which is the crate's here.
    let missing = example("mooncake", &["workload.trace.path=traces/nowhere.jsonl"]);
    let message = missing.unwrap_err().to_string();
    assert!(message.starts_with("workload: cannot open the trace `"), "{message}");
    assert!(message.contains("crates/spec/traces/nowhere.jsonl"), "{message}");
}

#[test]
fn the_mooncake_example_resolves_with_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.jsonl");
    let mut lines = String::new();
    for turn in 0..4_u64 {
        for session in 0..200_u64 {
            let blocks: Vec<u64> = (0..8 + turn).map(|block| session * 100 + block).collect();
            let time = turn * 60_000 + session * 100;
            writeln!(
                lines,
                "{{\"timestamp\": {time}, \"input_length\": {}, \"output_length\": 100, \
                 \"hash_ids\": {blocks:?}}}",
                blocks.len() * 512
            )
            .unwrap();
        }
    }
    std::fs::write(&trace, lines).unwrap();
    let flag = format!("workload.trace.path={}", trace.display());
    let plan = example("mooncake", &[&flag]).unwrap();
    assert_eq!(plan.deployments[0].levels[0].name, "trace");
    assert_eq!(plan.cells.len(), plan.deployments[0].arms.len());
    let verdict = |arm: &str| {
        cell(&plan, &format!("Qwen--Qwen3-8B/1x-h100/{arm}/trace/0")).prediction.verdict.clone()
    };
    assert_eq!(verdict("llm-d-inmemory"), Verdict::Effective);
    assert_eq!(verdict("llm-d-random"), Verdict::Control);
}

#[test]
fn the_emulated_example_asks_for_more_than_the_gpu_holds() {
    let plan = example("emulated", &[]).unwrap();
    let predicted: Vec<(&str, Verdict)> = plan
        .cells
        .iter()
        .map(|cell| {
            let arm = &plan.deployments[0].arms[cell.arm];
            (arm.name.as_str(), cell.prediction.verdict.clone())
        })
        .collect();
    assert_eq!(predicted.len(), 9);
    assert!(predicted.contains(&("native-offload", Verdict::Effective)), "{predicted:?}");
    // The controls that may show no effect.
    let control = |set: &str| {
        let plan = example("emulated", &[set]).unwrap();
        let native = plan.cells.iter().find(|cell| cell.path.contains("native-offload")).unwrap();
        native.prediction.verdict.clone()
    };
    let fits = Verdict::OverheadOnly(OverheadReason::FitsGpu);
    assert_eq!(control("workload.shared-prefix.prefixes={times_gpu: 0.5}"), fits);
    let none = "workload.shared-prefix={prefixes: 1, prefix_tokens: 0, prompt_tokens: 64, \
                output_tokens: 32}";
    assert_eq!(control(none), fits);
}

#[test]
fn every_arm_of_the_example_with_real_tiers_is_predicted_to_act() {
    let plan = example("emulated-tiers", &[]).unwrap();
    assert_eq!(plan.target.words(), "emulated (real bytes, scaled by 0.125)");
    assert_eq!(plan.cells.len(), 7);
    for cell in &plan.cells {
        let arm = &plan.deployments[0].arms[cell.arm];
        let expected = match arm.role {
            ArmRole::Control => Verdict::Control,
            _ => Verdict::Effective,
        };
        assert_eq!(cell.prediction.verdict, expected, "{}", cell.path);
        assert_eq!(
            cell.prediction.regime,
            match arm.role {
                ArmRole::Control => Regime::Overflows,
                _ => Regime::FitsTier,
            }
        );
        // Limit for a machine without 20 GiB to spare.
        let tiers = arm.offload.iter().flat_map(|offload| &offload.tiers);
        assert!(tiers.map(|tier| tier.capacity.0 as f64 * 0.125).sum::<f64>() < 4e9);
    }
}
