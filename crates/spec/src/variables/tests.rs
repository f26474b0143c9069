//! Each row of each table, by what it does to the experiment.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::table::Becomes;
use super::*;
use crate::document::written::OneOrMany;
use crate::{Experiment, Plan};

const ERAS: [Era; 3] = [Era::Natoscott, Era::LlmdbenchDeployer, Era::LlmdbenchModelservice];
const STANDALONE: &str = "export LLMDBENCH_DEPLOY_METHODS=standalone";
const NATIVE: &str = "--kv-transfer-config {\\\"kv_connector\\\":\\\"OffloadingConnector\\\",\
                      \\\"kv_connector_extra_config\\\":{\\\"num_cpu_blocks\\\":10000}}";

fn import(era: Era, text: &str) -> ImportedVariables {
    ImportedVariables::of_text(text, "scenario.sh", None, era).unwrap()
}

#[track_caller]
fn value(imported: &ImportedVariables) -> Value {
    let spec = imported.spec().unwrap_or_else(|error| panic!("{error}"));
    serde_json::to_value(spec).unwrap()
}

#[track_caller]
fn fate<'a>(imported: &'a ImportedVariables, name: &str) -> &'a VariableFate {
    let mut found = imported.fates.iter().filter(|of| of.place.name.as_deref() == Some(name));
    let fate = found.next().unwrap_or_else(|| panic!("no line for {name}"));
    assert_eq!(found.next(), None, "two lines for {name}");
    fate
}

#[track_caller]
fn refusal(era: Era, text: &str) -> String {
    let message = match ImportedVariables::of_text(text, "scenario.sh", None, era) {
        Ok(imported) => imported.spec().unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(!message.contains('\n'), "{message}");
    message
}

#[track_caller]
fn planned(imported: &ImportedVariables) -> Plan {
    let text = imported.experiment_file().unwrap();
    let experiment = Experiment::parse(&text, "imported.yaml", Path::new(""), &[]);
    let experiment = experiment.unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(&experiment.spec, imported.spec().unwrap(), "{text}");
    Plan::resolve(&experiment).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What a value of a variable does to the experiment, behind another line.
struct Effect {
    name: String,
    text: String,
    line: String,
    pointer: String,
    expected: Value,
}

fn sets(name: &str, text: &str, pointer: &str, expected: Value) -> Effect {
    let (name, text, pointer) = (name.to_owned(), text.to_owned(), pointer.to_owned());
    Effect { name, text, line: String::new(), pointer, expected }
}

impl Effect {
    fn behind(self, line: &str) -> Self {
        Self { line: line.to_owned(), ..self }
    }
}

/// Checks each, and that every row that sets a part has one. A silent one sets what its default
/// does.
fn check(era: Era, effects: &[Effect], silent: &[(&str, &str)]) {
    let untouched = value(&import(era, ""));
    for Effect { name, text, line, pointer, expected } in effects {
        let imported = import(era, &format!("{line}\nexport {name}='{text}'"));
        let after = value(&imported);
        assert_eq!(after.pointer(pointer), Some(expected), "{name}={text}:\n{after:#}");
        assert_ne!(untouched.pointer(pointer), Some(expected), "{name}: as without it");
        let fate = fate(&imported, name);
        assert!(matches!(fate.outcome, VariableOutcome::Taken(_)), "{fate}");
        assert!(fate.to_string().starts_with(&format!("scenario.sh:2: {name}: taken, as ")));
    }
    for (name, text) in silent {
        let imported = import(era, &format!("export {name}='{text}'"));
        assert_eq!(value(&imported), untouched, "{name}");
        assert!(matches!(fate(&imported, name).outcome, VariableOutcome::Taken(_)));
    }
    let rows = era.rows().iter().flat_map(|rows| rows.iter());
    let is_part = |row: &&Row| matches!(row.becomes, Becomes::Part(_) | Becomes::Of(..));
    let of_table: BTreeSet<&str> = rows.filter(is_part).map(|row| row.name).collect();
    let checked = effects.iter().map(|effect| effect.name.as_str());
    let checked: BTreeSet<&str> = checked.chain(silent.iter().map(|(name, _)| *name)).collect();
    assert_eq!(checked, of_table);
}

#[test]
fn every_variable_of_natoscott_sets_its_key() {
    let kubernetes =
        |name, text, key: &str| sets(name, text, &format!("/target/kubernetes/{key}"), json!(text));
    let tokens = |name, number: u32, key: &str| {
        let pointer = format!("/workload/shared-prefix/{key}");
        sets(name, &number.to_string(), &pointer, json!(number))
    };
    let effects = [
        kubernetes("KUBECONFIG", "/k/config", "kubeconfig"),
        kubernetes("NAMESPACE", "mine", "namespace"),
        sets("MODEL", "Qwen/Qwen3-8B", "/models/0", json!("Qwen/Qwen3-8B")),
        sets("TENSOR_PARALLEL_SIZE", "4", "/engine/tensor_parallel/0", json!(4)),
        sets("GPUS_PER_REPLICA", "4", "/hardware/0", json!("4x-l40s")),
        sets("CURRENT_REPLICAS", "3", "/replicas", json!(3)),
        sets("MAX_NUM_SEQ", "77", "/engine/max_num_seqs", json!(77)),
        sets("GPU_MEMORY_UTILIZATION", "0.5", "/engine/gpu_memory_utilization/0", json!(0.5)),
        sets("VLLM_EXTRA_ARGS", NATIVE, "/arms/1/bytes", json!("10000 blocks")),
        sets("VLLM_ENV_VARS", "A=1 B=2", "/arms/0/env/B", json!("2")),
        sets("USE_LMCACHE_IMAGE", "true", "/arms/1/preset", json!("lmcache-local")),
        sets("CONTAINER_IMAGE", "vllm/vllm-openai:v0.11.0", "/engine/vllm", json!("0.11.0")),
        sets("EPP_BACKEND_CONFIG", "in-memory", "/arms/1", json!("llm-d-approx")),
        sets("PARAMETERS", "my arm", "/arms/0/name", json!("my-arm")),
        sets("EXPERIMENT_NAME", "of/mine", "/name", json!("of-mine")),
        sets("HARDWARE", "1x2xH100", "/hardware/0", json!("2x-h100")),
        sets("MAX_REQUESTS", "10", "/load/max_requests", json!(10)),
        sets("RATE", "1,50", "/load/users", json!([1, 50])),
        sets("RATE_TYPE", "poisson", "/load/poisson", json!([1.0])),
        sets("MAX_SECONDS", "120", "/load/duration", json!("120s")),
        sets("RANDOM_SEED", "7", "/seed", json!(7)),
        tokens("PROMPT_TOKENS", 64, "prompt_tokens"),
        tokens("OUTPUT_TOKENS", 64, "output_tokens"),
        tokens("PREFIX_TOKENS", 500, "prefix_tokens"),
        tokens("TURNS", 2, "turns"),
        tokens("PREFIX_COUNT", 9, "prefixes"),
    ];
    check(Era::Natoscott, &effects, &[]);
}

/// Of llm-d-benchmark, without `LLMDBENCH_`.
fn named(name: &str, text: &str, pointer: &str, expected: Value) -> Effect {
    sets(&format!("LLMDBENCH_{name}"), text, pointer, expected)
}

/// Of both eras of llm-d-benchmark.
fn common() -> Vec<Effect> {
    let vllm = |name: &str, text, key: &str, expected| {
        named(&format!("VLLM_COMMON_{name}"), text, &format!("/target/kubernetes/{key}"), expected)
    };
    let image = "vllm/vllm-openai:v0.11.0";
    let llama = json!("meta-llama/Llama-3.1-8B-Instruct");
    let server = json!("https://api.x:6443");
    vec![
        named("CLUSTER_URL", "https://api.x", "/target/kubernetes/server", server),
        vllm("HF_TOKEN_NAME", "mine", "hf_secret/name", json!("mine")),
        vllm("HF_TOKEN_KEY", "mine", "hf_secret/key", json!("mine")),
        vllm("NAMESPACE", "mine", "namespace", json!("mine")),
        vllm("SERVICE_ACCOUNT", "mine", "service_account", json!("mine")),
        vllm("CPU_NR", "6", "cpu", json!(6)).behind(STANDALONE),
        vllm("CPU_MEM", "50Gi", "memory", json!("50GiB")).behind(STANDALONE),
        vllm("PVC_NAME", "mine", "model_volume/claim", json!("mine")),
        vllm("PVC_STORAGE_CLASS", "fast", "model_volume/class", json!("fast")),
        vllm("PVC_MODEL_CACHE_SIZE", "1Ti", "model_volume/size", json!("1024GiB")),
        named("VLLM_COMMON_REPLICAS", "3", "/replicas", json!(3)).behind(STANDALONE),
        named("VLLM_COMMON_MAX_MODEL_LEN", "8192", "/engine/max_model_len", json!(8192))
            .behind(STANDALONE),
        named("VLLM_COMMON_AFFINITY", "a/b:NVIDIA-L40S", "/hardware/0", json!("1x-l40s")),
        named("VLLM_STANDALONE_IMAGE", image, "/target/kubernetes/images/vllm", json!(image))
            .behind(STANDALONE),
        named("DEPLOY_SCENARIO", "a/ocp_x.sh", "/name", json!("ocp_x")),
        named("DEPLOY_MODEL_LIST", "llama-8b", "/models/0", llama),
        named("DEPLOY_METHODS", "standalone", "/arms/0", json!("no-offload")),
        named("CONTROL_WAIT_TIMEOUT", "60", "/target/kubernetes/start_timeout", json!("60s")),
    ]
}

const SHARE: &str = "/engine/gpu_memory_utilization/0";
const RANKS: &str = "/engine/tensor_parallel/0";

#[test]
fn every_variable_of_may_2025_sets_its_key() {
    let scorer = |name: &str, text, key: &str, expected| {
        let pointer = format!("/arms/1/routing/{key}");
        named(&format!("VLLM_DEPLOYER_EPP_{name}"), text, &pointer, expected)
    };
    let precise = "export LLMDBENCH_VLLM_DEPLOYER_EPP_ENABLE_KVCACHE_AWARE_SCORER=true";
    let mut effects = common();
    effects.extend([
        named("VLLM_COMMON_GPU_NR", "4", RANKS, json!(4)),
        named("VLLM_COMMON_GPU_MEM_UTIL", "0.8", SHARE, json!(0.8)).behind(STANDALONE),
        named("VLLM_DEPLOYER_DECODE_REPLICAS", "2", "/replicas", json!(2)),
        scorer("ENABLE_PREFIX_AWARE_SCORER", "false", "weights/prefix", json!(0.0)),
        scorer("PREFIX_AWARE_SCORER_WEIGHT", "5", "weights/prefix", json!(5.0)),
        scorer("ENABLE_LOAD_AWARE_SCORER", "false", "weights/queue", json!(0.0)),
        scorer("LOAD_AWARE_SCORER_WEIGHT", "5", "weights/queue", json!(5.0)),
        scorer("ENABLE_KVCACHE_AWARE_SCORER", "true", "policy", json!("llm-d-redis")),
        scorer("KVCACHE_AWARE_SCORER_WEIGHT", "7", "weights/prefix", json!(7.0)).behind(precise),
    ]);
    let silent = [
        ("LLMDBENCH_VLLM_DEPLOYER_VALUES_FILE", "fromenv"),
        ("LLMDBENCH_VLLM_DEPLOYER_PREFILL_REPLICAS", "2"),
        ("LLMDBENCH_FMPERF_EXPERIMENT_PROFILE", "sanity_short-input.yaml"),
    ];
    check(Era::LlmdbenchDeployer, &effects, &silent);
}

#[test]
fn every_variable_of_0_5_sets_its_key() {
    let decode =
        |text: &str| format!("export LLMDBENCH_VLLM_MODELSERVICE_DECODE_EXTRA_ARGS='[{text}]'");
    let by_blocks = NATIVE.replace("10000", "REPLACE_ENV_LLMDBENCH_VLLM_COMMON_NUM_CPU_BLOCKS");
    let by_bytes = NATIVE
        .replace("10000", "REPLACE_ENV_LLMDBENCH_VLLM_COMMON_CPU_BYTES_TO_USE")
        .replace("num_cpu_blocks", "cpu_bytes_to_use");
    let engine = |name: &str, number: u32, key: &str| {
        let pointer = format!("/engine/{key}");
        named(&format!("VLLM_COMMON_{name}"), &number.to_string(), &pointer, json!(number))
            .behind(STANDALONE)
    };
    let args = "x.sh____;____vllm____serve____REPLACE_MODEL____--port____80____--block-size____77";
    let resource = "/target/kubernetes/gpu_resource";
    let mut effects = common();
    effects.extend([
        named("VLLM_COMMON_ACCELERATOR_RESOURCE", "amd.com/gpu", resource, json!("amd.com/gpu")),
        named("VLLM_COMMON_ACCELERATOR_NR", "4", "/hardware/0", json!("4x-h100")),
        named("VLLM_COMMON_TENSOR_PARALLELISM", "2", RANKS, json!(2)),
        named("VLLM_COMMON_ACCELERATOR_MEM_UTIL", "0.8", SHARE, json!(0.8)).behind(STANDALONE),
        engine("BLOCK_SIZE", 32, "block_size"),
        engine("MAX_NUM_SEQ", 9, "max_num_seqs"),
        engine("MAX_NUM_BATCHED_TOKENS", 512, "max_num_batched_tokens"),
        named("VLLM_COMMON_NUM_CPU_BLOCKS", "10", "/arms/2/bytes", json!("10 blocks"))
            .behind(&decode(&by_blocks)),
        named("VLLM_COMMON_CPU_BYTES_TO_USE", "2147483648", "/arms/2/bytes", json!("2GiB"))
            .behind(&decode(&by_bytes)),
        named("VLLM_STANDALONE_ARGS", args, "/engine/block_size", json!(77)).behind(STANDALONE),
        named("VLLM_MODELSERVICE_DECODE_REPLICAS", "2", "/replicas", json!(2)),
        named(
            "VLLM_MODELSERVICE_DECODE_EXTRA_ARGS",
            "[--block-size____REPLACE_ENV_LLMDBENCH_VLLM_COMMON_BLOCK_SIZE____--x]",
            "/target/kubernetes/vllm_args/0",
            json!("--x"),
        ),
    ]);
    let silent = [
        ("LLMDBENCH_VLLM_MODELSERVICE_PREFILL_REPLICAS", "2"),
        ("LLMDBENCH_VLLM_MODELSERVICE_GAIE_PLUGINS_CONFIGFILE", "default-plugins.yaml"),
        ("LLMDBENCH_HARNESS_EXPERIMENT_PROFILE", "sanity_random.yaml"),
    ];
    check(Era::LlmdbenchModelservice, &effects, &silent);
}

#[test]
fn other_rows_are_told_by_what_they_are() {
    for era in ERAS {
        for row in era.rows().iter().flat_map(|rows| rows.iter()) {
            // Pattern rows with a name that begins like them.
            let name = row.name.replace('*', "SOMETHING");
            let imported = import(era, &format!("export {name}=hf_secretvalue"));
            let fate = fate(&imported, &name);
            let expected = match row.becomes {
                Becomes::Secret(_) => "not written, ",
                Becomes::Dropped(_) => "dropped, ",
                Becomes::Dead(_) => "dead in its era, ",
                Becomes::Unsupported(_) => "refused, ",
                Becomes::Part(_) | Becomes::Of(..) => continue,
            };
            let said = fate.to_string();
            assert!(said.starts_with(&format!("scenario.sh:1: {name}: {expected}")), "{said}");
            assert!(!said.contains("hf_secretvalue"), "{said}");
            if matches!(row.becomes, Becomes::Unsupported(_)) {
                let off = import(era, &format!("export {name}=false"));
                off.spec().unwrap();
            }
        }
    }
}

#[test]
fn names_and_patterns_of_a_table_stand_in_it_once() {
    for era in ERAS {
        let rows: Vec<&Row> = era.rows().iter().flat_map(|rows| rows.iter()).collect();
        let names: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), rows.len(), "{}", era.name());
    }
}

#[test]
fn what_is_not_set_is_told_as_the_default_that_ran() {
    let imported = import(Era::Natoscott, "");
    let said: Vec<String> = imported.fates.iter().map(ToString::to_string).collect();
    let rate = "scenario.sh: RATE: not set, its era's default `1` as load";
    assert!(said.contains(&rate.to_owned()), "{said:#?}");
    let spec = imported.spec().unwrap();
    assert_eq!(spec.arms, ["no-offload".into()]);
    assert_eq!(spec.load.users, Some(OneOrMany(vec![1])));
    let Some(backend) = said.iter().find(|line| line.contains("EPP_BACKEND_CONFIG")) else {
        panic!("{said:#?}")
    };
    assert!(backend.contains("llm-d-approx") && backend.contains("nothing to choose"), "{backend}");
    // An empty value is none.
    let empty = import(Era::Natoscott, "export RATE=\nexport MODEL=''");
    assert_eq!(empty.spec().unwrap(), spec);
}

#[test]
fn a_placebo_becomes_what_it_claimed_and_says_what_ran() {
    let arms = |text: &str| value(&import(Era::Natoscott, text))["arms"].clone();
    let redis = "export EPP_BACKEND_CONFIG=redis";
    assert_eq!(arms(redis), json!(["llm-d-random", "llm-d-redis"]));
    let imported = import(Era::Natoscott, redis);
    let said = fate(&imported, "EPP_BACKEND_CONFIG").to_string();
    assert!(said.contains("routed by an approximate index"), "{said}");
    let native = format!("export VLLM_EXTRA_ARGS='{NATIVE}'");
    let alone = json!(["no-offload", {"preset": "native-offload", "bytes": "10000 blocks"}]);
    assert_eq!(arms(&native), alone);
    let routed = arms(&format!("{native}\nexport CURRENT_REPLICAS=2"));
    assert_eq!(routed[1], "llm-d-random");
    assert_eq!(routed[2]["routing"], "llm-d-approx");
}

#[test]
fn lmcache_is_found_by_its_connector_or_image() {
    let text = "export VLLM_EXTRA_ARGS='--kv-transfer-config {\\\"kv_connector\\\":\\\"LMCacheConnectorV1\\\"}'
export VLLM_ENV_VARS='LMCACHE_MAX_LOCAL_CPU_SIZE=5 LMCACHE_CHUNK_SIZE=512 LMCACHE_REMOTE_URL=redis://valkey.x:6379 OMP=1'";
    let imported = import(Era::Natoscott, text);
    let arm = &value(&imported)["arms"][1];
    assert_eq!(arm["preset"], "lmcache-valkey");
    // 5 GiB on each of two ranks.
    assert_eq!(arm["bytes"], "10GiB");
    assert_eq!((&arm["chunk_tokens"], &arm["env"]), (&json!(512), &json!({"OMP": "1"})));
    assert_eq!(arm["store"]["address"], "redis://valkey.x:6379");
    planned(&imported);
    // The image's own command line drops the arguments.
    let dropped = import(Era::Natoscott, &format!("{text}\nexport USE_LMCACHE_IMAGE=true"));
    let said = fate(&dropped, "VLLM_EXTRA_ARGS").to_string();
    assert!(said.contains("without effect"), "{said}");
    let idle = import(Era::Natoscott, "export VLLM_ENV_VARS='LMCACHE_CHUNK_SIZE=512 A=1'");
    assert_eq!(value(&idle)["arms"][0]["env"], json!({"A": "1"}));
    let said = fate(&idle, "VLLM_ENV_VARS").to_string();
    assert!(said.contains("did nothing: LMCACHE_CHUNK_SIZE"), "{said}");
}

#[test]
fn an_engine_without_prefix_caching_is_carried_with_a_warning() {
    let imported = import(Era::LlmdbenchModelservice, STANDALONE);
    let spec = imported.spec().unwrap();
    assert_eq!(spec.engine.prefix_caching, Some(false));
    assert_eq!(spec.target.kubernetes().unwrap().vllm_args, ["--enforce-eager"]);
    let said = fate(&imported, "LLMDBENCH_VLLM_STANDALONE_ARGS").to_string();
    assert!(said.contains("no cache is measured") && said.contains("CUDA graphs"), "{said}");
    planned(&imported);
}

#[test]
fn methods_read_their_own_variables_alone() {
    let text = "export LLMDBENCH_VLLM_COMMON_MAX_MODEL_LEN=99\nexport FOO=1\nexport FOO=2";
    let imported = import(Era::LlmdbenchDeployer, text);
    let said: Vec<String> = imported.fates.iter().map(ToString::to_string).take(3).collect();
    let expected = [
        "scenario.sh:1: LLMDBENCH_VLLM_COMMON_MAX_MODEL_LEN: without effect, only the standalone \
         method reads it",
        "scenario.sh:2: FOO: replaced in line 3",
        "scenario.sh:3: FOO: unknown",
    ];
    assert_eq!(said, expected);
    assert_eq!(imported.unknown().count(), 1);
    assert_eq!(imported.spec().unwrap().engine.max_model_len, None);
}

#[test]
fn secrets_are_neither_said_nor_written() {
    let secret = "hf_aaaaaaaaaaaa";
    for (era, text) in [
        (Era::LlmdbenchDeployer, format!("export LLMDBENCH_HF_TOKEN={secret}")),
        (Era::LlmdbenchDeployer, format!("export LLMDBENCH_CLUSTER_TOKEN={secret}")),
        (Era::LlmdbenchModelservice, format!("export LLMDBENCH_HF_TOKEN={secret}")),
        (Era::LlmdbenchModelservice, format!("export MY_PASSWORD={secret}")),
        (Era::Natoscott, format!("export VLLM_ENV_VARS='HF_TOKEN={secret} A=1'")),
        (Era::Natoscott, format!("export VLLM_ENV_VARS='HTTPS_PROXY=http://u:{secret}@h'")),
        (Era::Natoscott, format!("export VLLM_EXTRA_ARGS='--api-key {secret} --x'")),
        (Era::Natoscott, format!("export VLLM_EXTRA_ARGS='--hf-token={secret}'")),
        (Era::Natoscott, format!("export MLFLOW_CONF={secret}")),
    ] {
        let imported = import(era, &text);
        let file = imported.experiment_file().unwrap();
        assert!(!file.contains(secret), "{text}:\n{file}");
        let said: Vec<String> = imported.fates.iter().map(ToString::to_string).collect();
        assert!(!said.concat().contains(secret), "{text}: {said:#?}");
    }
    // A token may come from a shell that nobody asks.
    import(Era::LlmdbenchDeployer, "export LLMDBENCH_HF_TOKEN=$HF_TOKEN").spec().unwrap();
    let lmcache =
        "export USE_LMCACHE_IMAGE=true\nexport VLLM_ENV_VARS=LMCACHE_REMOTE_URL=redis://:";
    for text in [
        format!("{lmcache}{secret}@h:6379"),
        format!("export VLLM_ENV_VARS='{secret}'"),
        format!("export HF_TOKEN='{secret}"),
        secret.to_owned(),
    ] {
        let message = refusal(Era::Natoscott, &text);
        assert!(!message.contains(secret), "{message}");
    }
}

#[test]
fn bad_values_are_refused_with_file_line_key_and_remedy() {
    let deployer = |text: &str| refusal(Era::LlmdbenchDeployer, text);
    let twice = format!("\nexport VLLM_EXTRA_ARGS='{NATIVE} {NATIVE}'");
    for (seen, expected) in [
        (
            refusal(Era::Natoscott, &twice),
            "scenario.sh:2: VLLM_EXTRA_ARGS: `--kv-transfer-config` stands there twice, and vLLM \
             takes the last alone; write one",
        ),
        (
            refusal(Era::Natoscott, "export RATE='1"),
            "scenario.sh:1: RATE: the quote `'` is not closed; close it, or write the value on one \
             line",
        ),
        (
            refusal(Era::Natoscott, "export RATE=$(nproc)"),
            "scenario.sh:1: RATE: command substitution is not run; write the value that it gives",
        ),
        (
            refusal(Era::Natoscott, "bash run-benchmark.sh"),
            "scenario.sh:1: expected `export NAME=value`: a scenario file is read and not run; \
             remove the line",
        ),
        (
            refusal(Era::Natoscott, "export RATE=x\nexport TURNS=0"),
            "scenario.sh:1: RATE: expected users, such as 1,50, and it is `x`; write numbers (and \
             1 other variable)",
        ),
        (
            refusal(Era::Natoscott, "export MODEL=$MINE"),
            "scenario.sh:1: MODEL: `MINE` is set on no earlier line; write the value itself",
        ),
        (
            refusal(Era::Natoscott, "export EPP_BACKEND_CONFIG=mongo"),
            "scenario.sh:1: EPP_BACKEND_CONFIG: unknown backend; write `in-memory`, `redis` or \
             `valkey`",
        ),
        (
            refusal(Era::Natoscott, "export VLLM_PRE_CMD='pip install x'"),
            "scenario.sh:1: VLLM_PRE_CMD: Weir has nothing that does the same; build an image in \
             which it has run, and name it in CONTAINER_IMAGE",
        ),
        (
            deployer("export LLMDBENCH_VLLM_DEPLOYER_EPP_PD_ENABLED=true"),
            "scenario.sh:1: LLMDBENCH_VLLM_DEPLOYER_EPP_PD_ENABLED: Weir has nothing that does the \
             same; set it to false: engines do prefill and decode",
        ),
        (
            deployer("export LLMDBENCH_FMPERF_EXPERIMENT_PROFILE=mine.yaml"),
            "scenario.sh:1: LLMDBENCH_FMPERF_EXPERIMENT_PROFILE: this profile is not known by its \
             name; name its file with `--profile FILE`",
        ),
        (
            deployer("export LLMDBENCH_DEPLOY_METHODS=standalone,deployer"),
            "scenario.sh:1: LLMDBENCH_DEPLOY_METHODS: expected one method of deployment; write \
             `standalone`, `deployer` or `modelservice`",
        ),
    ] {
        assert_eq!(seen, expected);
    }
    let long = "#".repeat(MOST_BYTES + 1);
    assert!(refusal(Era::Natoscott, &long).starts_with("scenario.sh: more than "));
}

/// In the form of llm-d-benchmark's own.
const SCENARIO: &str = "# A node with MIG
export LLMDBENCH_DEPLOY_METHODS=deployer
export LLMDBENCH_DEPLOY_MODEL_LIST=llama-3b
export LLMDBENCH_VLLM_COMMON_AFFINITY=nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3-MIG-3g.40gb
export LLMDBENCH_VLLM_COMMON_GPU_NR=1
export LLMDBENCH_VLLM_COMMON_PVC_STORAGE_CLASS=\"ocs-storagecluster-cephfs\"
export LLMDBENCH_VLLM_DEPLOYER_DECODE_REPLICAS=2
export LLMDBENCH_EPP_ENABLE_PREFIX_AWARE_SCORER=true
export LLMDBENCH_EPP_PREFIX_AWARE_SCORER_WEIGHT=1
";

#[test]
fn files_of_all_eras_become_experiments_that_can_be_planned() {
    for (era, text) in [
        (Era::Natoscott, String::new()),
        (Era::Natoscott, "export EPP_BACKEND_CONFIG=valkey\nexport CURRENT_REPLICAS=2".to_owned()),
        (Era::Natoscott, format!("export VLLM_EXTRA_ARGS='{NATIVE}'\nexport PARAMETERS=native")),
        (Era::LlmdbenchDeployer, SCENARIO.to_owned()),
        (Era::LlmdbenchDeployer, STANDALONE.to_owned()),
        (Era::LlmdbenchModelservice, String::new()),
    ] {
        let plan = planned(&import(era, &text));
        assert!(!plan.cells.is_empty(), "{text}");
    }
    let imported = import(Era::LlmdbenchDeployer, SCENARIO);
    let dead = fate(&imported, "LLMDBENCH_EPP_PREFIX_AWARE_SCORER_WEIGHT");
    assert!(matches!(dead.outcome, VariableOutcome::Dead(_)), "{dead}");
    assert_eq!(value(&imported)["arms"][1]["routing"]["weights"]["prefix"], 2.0);
    let head = imported.experiment_file().unwrap();
    assert!(head.starts_with("# By `weir spec from-env --era llmdbench-2025-05`, of scenario.sh."));
}

#[test]
fn an_environment_has_other_names_too() {
    let all = [
        ("PATH", "/bin"),
        ("LLMDBENCH_HF_TOKEN", "hf_x"),
        ("LLMDBENCH_MISTYPED", "1"),
        ("LLMDBENCH_DEPLOY_METHODS", "standalone"),
    ];
    let all = all.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let imported = ImportedVariables::of_environment(all, None, Era::LlmdbenchDeployer).unwrap();
    let said: Vec<String> = imported.fates.iter().map(ToString::to_string).take(3).collect();
    assert_eq!(said[0], "environment: LLMDBENCH_DEPLOY_METHODS: taken, as arms");
    assert!(said[1].starts_with("environment: LLMDBENCH_HF_TOKEN: not written, "), "{said:?}");
    assert_eq!(said[2], "environment: LLMDBENCH_MISTYPED: unknown");
    assert!(!imported.fates.iter().any(|of| of.place.name.as_deref() == Some("PATH")));
}

proptest! {
    #[test]
    fn no_values_panic(values in prop::collection::vec("[-a-zA-Z0-9=:/{}\"., _]{0,24}", 60)) {
        for era in ERAS {
            let rows = era.rows().iter().flat_map(|rows| rows.iter());
            let set = rows.zip(&values);
            let lines: Vec<String> = set
                .map(|(row, value)| format!("export {}='{value}'", row.name.replace('*', "X")))
                .collect();
            let imported = import(era, &lines.join("\n"));
            if let Ok(text) = imported.experiment_file() {
                let read = Experiment::parse(&text, "imported.yaml", Path::new(""), &[]);
                prop_assert!(read.is_ok(), "{}\n{text}", read.unwrap_err());
            }
        }
    }

    #[test]
    fn one_value_at_a_time_does_not_panic_and_gives_a_valid_file(
        row in 0_usize..60,
        value in "[-a-zA-Z0-9=:/{}\"., _é]{0,24}",
    ) {
        for era in ERAS {
            let mut rows = era.rows().iter().flat_map(|rows| rows.iter());
            let Some(row) = rows.nth(row) else { continue };
            let text = format!("export {}='{value}'", row.name.replace('*', "X"));
            if let Ok(text) = import(era, &text).experiment_file() {
                let read = Experiment::parse(&text, "imported.yaml", Path::new(""), &[]);
                prop_assert!(read.is_ok(), "{}\n{text}", read.unwrap_err());
            }
        }
    }
}
