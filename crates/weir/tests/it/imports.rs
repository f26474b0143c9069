//! Experiments from the variables of other scripts (`weir spec from-env`).

use std::fs;
use std::process::Command;

use insta::assert_snapshot;

use crate::binary::{WEIR, weir};

const TOKEN: &str = "hf_aaaabbbbcccc";

/// In the form of llm-d-benchmark's own.
const SCENARIO: &str = "\
# Two engines on L40S
export LLMDBENCH_HF_TOKEN=hf_aaaabbbbcccc
export LLMDBENCH_CLUSTER_HOST=auto
export LLMDBENCH_DEPLOY_MODEL_LIST=llama-3b   # an alias
export LLMDBENCH_VLLM_COMMON_AFFINITY=\"nvidia.com/gpu.product:NVIDIA-L40S\"
export LLMDBENCH_VLLM_DEPLOYER_DECODE_REPLICAS=2
export LLMDBENCH_VLLM_COMMON_MAX_MODEL_LEN=8192
export LLMDBENCH_EPP_ENABLE_PREFIX_AWARE_SCORER=true
export LLMDBENCH_MISTYPED=1
";

#[test]
fn a_scenario_file_becomes_an_experiment_that_can_be_planned() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("scenario.sh"), SCENARIO).unwrap();
    let args = ["spec", "from-env", "scenario.sh", "--era", "llmdbench-2025-05"];
    let answer = weir(folder.path(), &args).done();
    assert!(!format!("{}{}", answer.out, answer.err).contains(TOKEN));
    let given: Vec<&str> =
        answer.err.lines().filter(|line| line.starts_with("scenario.sh:")).collect();
    let (given, defaults): (Vec<&str>, Vec<&str>) =
        given.into_iter().partition(|line| !line.contains("not set"));
    assert_snapshot!(given.join("\n"), @"
    scenario.sh:2: LLMDBENCH_HF_TOKEN: not written, the Secret of target.kubernetes.hf_secret has it
    scenario.sh:3: LLMDBENCH_CLUSTER_HOST: dead in its era, only the README names it: set LLMDBENCH_CLUSTER_URL
    scenario.sh:4: LLMDBENCH_DEPLOY_MODEL_LIST: taken, as models
    scenario.sh:5: LLMDBENCH_VLLM_COMMON_AFFINITY: taken, as target.kubernetes.node_selector, hardware
    scenario.sh:6: LLMDBENCH_VLLM_DEPLOYER_DECODE_REPLICAS: taken, as replicas
    scenario.sh:7: LLMDBENCH_VLLM_COMMON_MAX_MODEL_LEN: without effect, only the standalone method reads it
    scenario.sh:8: LLMDBENCH_EPP_ENABLE_PREFIX_AWARE_SCORER: dead in its era, no code read it: the picker had its defaults
    scenario.sh:9: LLMDBENCH_MISTYPED: unknown
    ");
    let namespace = "scenario.sh: LLMDBENCH_VLLM_COMMON_NAMESPACE: not set, its era's default \
                     `llmdbench` as target.kubernetes.namespace";
    assert!(defaults.contains(&namespace), "{defaults:#?}");

    fs::write(folder.path().join("experiment.yaml"), &answer.out).unwrap();
    let plan = weir(folder.path(), &["plan", "experiment.yaml", "--json"]).done();
    let plan: serde_json::Value = serde_json::from_str(&plan.out).unwrap();
    let deployment = &plan["deployments"][0];
    assert_eq!(deployment["model"]["name"], "meta-llama/Llama-3.2-3B-Instruct");
    assert_eq!(deployment["replicas"], 2);
    assert_eq!(plan["target"]["kubernetes"]["namespace"], "llmdbench");
    let arms = deployment["arms"].as_array().unwrap();
    let arms: Vec<&str> = arms.iter().map(|arm| arm["name"].as_str().unwrap()).collect();
    assert_eq!(arms, ["llm-d-random", "llm-d-approx"]);
    // The objects of the imported arm can be written.
    let arm = ["render", "experiment.yaml", "--arm", "llm-d-random", "--out", "objects"];
    let set = ["--set", "target.kubernetes.images.picker=registry/llm-d-inference-scheduler:0.7.1"];
    let weirs = ["--set", "target.kubernetes.images.weir=registry/weir:1"];
    weir(folder.path(), &[&arm[..], &set, &weirs].concat()).done();
}

#[test]
fn unknown_names_eras_and_commands_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("scenario.sh"), SCENARIO).unwrap();
    let call = |more: &[&str]| {
        let args = ["--quiet", "spec", "from-env"];
        weir(folder.path(), &[&args[..], more].concat())
    };
    let strict = call(&["scenario.sh", "--era", "llmdbench-2025-05", "--strict"]);
    assert_snapshot!(strict.refusal(2, folder.path()), @"weir: scenario.sh:9: LLMDBENCH_MISTYPED: unknown; correct its name, or leave out `--strict`");
    fs::write(folder.path().join("run.sh"), "export RATE=1\nexport MODEL=$(cat model)\n").unwrap();
    let command = call(&["run.sh", "--era", "natoscott"]);
    assert_snapshot!(command.refusal(2, folder.path()), @"weir: run.sh:2: MODEL: command substitution is not run; write the value that it gives");
    let absent = call(&["nothing.sh", "--era", "natoscott"]).refusal(2, folder.path());
    assert!(absent.starts_with("weir: cannot read scenario file nothing.sh: "), "{absent}");
    let era = call(&["scenario.sh", "--era", "llmdbench-0.6"]);
    assert_eq!(era.code, Some(2));
    assert!(era.err.contains("natoscott, llmdbench-2025-05, llmdbench-0.5"), "{}", era.err);
}

#[test]
fn an_environment_becomes_an_experiment_and_other_names_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(WEIR)
        .args(["spec", "from-env", "--era", "natoscott", "--strict"])
        .envs([("MODEL", "Qwen/Qwen3-8B"), ("EPP_BACKEND_CONFIG", "redis"), ("HF_TOKEN", TOKEN)])
        .env("CURRENT_REPLICAS", "2")
        .env_remove("TARGET")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("environment: MODEL: taken, as models\n"), "{said}");
    assert!(!said.contains("PATH") && !said.contains(TOKEN), "{said}");
    fs::write(folder.path().join("experiment.yaml"), &output.stdout).unwrap();
    let checked = weir(folder.path(), &["spec", "check", "experiment.yaml"]).done();
    assert_eq!(checked.out, "natoscott: valid, 2 cells in 1 deployments\n");
}

#[test]
fn a_profile_says_what_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = "export LLMDBENCH_HARNESS_EXPERIMENT_PROFILE=mine.yaml\n";
    fs::write(folder.path().join("scenario.sh"), scenario).unwrap();
    let profile = "load: {type: poisson, stages: [{rate: 1, duration: 30}, {rate: 2, duration: 30}]}\n\
                   data: {type: shared_prefix, shared_prefix: {num_groups: 8, system_prompt_len: 512,\n\
                   question_len: 64, output_len: 32, num_prompts_per_group: 4}}\nserver: {model_name: X}\n";
    fs::write(folder.path().join("mine.yaml"), profile).unwrap();
    let args = ["spec", "from-env", "scenario.sh", "--era", "llmdbench-0.5"];
    let refused = weir(folder.path(), &[&["--quiet"][..], &args].concat());
    assert!(refused.refusal(2, folder.path()).contains("--profile FILE"));
    let answer = weir(folder.path(), &[&args[..], &["--profile", "mine.yaml"]].concat()).done();
    fs::write(folder.path().join("experiment.yaml"), &answer.out).unwrap();
    let plan = weir(folder.path(), &["plan", "experiment.yaml", "--json"]).done();
    let plan: serde_json::Value = serde_json::from_str(&plan.out).unwrap();
    let levels = plan["deployments"][0]["levels"].as_array().unwrap();
    assert_eq!(levels.len(), 2);
    let workload = &levels[1]["workload"]["shared-prefix"];
    assert_eq!((&workload["prefixes"], &workload["prefix_tokens"]), (&8.into(), &512.into()));
}
