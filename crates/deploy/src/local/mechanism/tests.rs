//! Configurations of vLLM and LMCache, by release.

use std::path::{Path, PathBuf};

use serde_json::json;
use weir_spec::{Experiment, Plan};

use super::super::stack::Platform;
use super::*;

fn resolved(text: &str) -> Plan {
    Plan::resolve(&Experiment::parse(text, "keys.yaml", Path::new(""), &[]).unwrap()).unwrap()
}

fn plan(arms: &str) -> Plan {
    resolved(&format!(
        "name: keys\nmodels: [weir/tiny-qwen3]\nhardware: 1x-cpu\nengine: {{kv_tokens: 4096, \
         block_size: 32, max_model_len: 2048}}\narms: {arms}\nworkload: {{shared-prefix: \
         {{prefixes: 1, prefix_tokens: 100, prompt_tokens: 10, output_tokens: 4}}}}\nload: \
         {{users: [1], duration: 5s}}\n"
    ))
}

fn plan_of(model: &str, ranks: u32, arm: &str, replicas: u32) -> Plan {
    resolved(&format!(
        "name: command\nmodels: [{model}]\nhardware: {ranks}x-h200\nreplicas: {replicas}\nengine: \
         {{tensor_parallel: {ranks}, max_model_len: 8192}}\narms: [{arm}]\nworkload: \
         {{shared-prefix: {{prefixes: 1, prefix_tokens: 100, prompt_tokens: 10, output_tokens: \
         4}}}}\nload: {{users: [1], duration: 5s}}\n"
    ))
}

fn stack(minor: u32, lmcache: Option<u32>, platform: Platform) -> Stack {
    let version = |minor| Version { major: 0, minor, patch: 0 };
    Stack {
        python: PathBuf::from("python3"),
        vllm: version(minor),
        vllm_text: format!("0.{minor}.0"),
        lmcache: lmcache.map(version),
        platform,
    }
}

fn places() -> Places {
    Places {
        scratch: PathBuf::from("scratch"),
        logs: PathBuf::from("logs"),
        weights: "weights".to_owned(),
        disk: PathBuf::from("/disk"),
        store: None,
        shared_memory: "weir".to_owned(),
        lmcache: (1, 2),
    }
}

/// The value of `--kv-transfer-config`; null without a connector.
fn of(arm: &str, stack: &Stack) -> Result<Value, String> {
    let plan = plan(&format!("[{arm}]"));
    let deployment = &plan.deployments[0];
    match connector(&deployment.arms[0], deployment, stack, Some("/disk")) {
        Ok(Some(connector)) => Ok(connector.transfer_config(&places())),
        Ok(None) => Ok(Value::Null),
        Err(error) => Err(error.to_string()),
    }
}

fn extra(config: &Value) -> Value {
    assert_eq!(config["kv_connector"], "OffloadingConnector");
    config["kv_connector_extra_config"].clone()
}

#[test]
fn the_size_of_host_memory_has_the_name_of_the_release() {
    let arm = "{preset: native-offload, bytes: 1GiB}";
    let old = extra(&of(arm, &stack(11, None, Platform::Gpu)).unwrap());
    // A block of 32 tokens has 4096 bytes each.
    assert_eq!(old["num_cpu_blocks"], (1u64 << 30) / (32 * 4096));
    assert_eq!(old.get("cpu_bytes_to_use"), None);
    let new = extra(&of(arm, &stack(14, None, Platform::Gpu)).unwrap());
    assert_eq!(new["cpu_bytes_to_use"], 1u64 << 30);
    assert_eq!(new.get("num_cpu_blocks"), None);
    assert_eq!(new.get("spec_name"), None);
    let cpu = extra(&of(arm, &stack(32, None, Platform::Cpu)).unwrap());
    assert_eq!(cpu["spec_name"], native::CPU_SPEC);
}

#[test]
fn behind_a_router_chunks_describe_themselves() {
    let of = |minor, arms: &str, replicas| {
        let plan = plan_of("Qwen/Qwen3-8B", 1, arms, replicas);
        let deployment = &plan.deployments[0];
        let stack = Stack {
            lmcache: Some(Version { major: 0, minor: 5, patch: 6 }),
            ..stack(minor, None, Platform::Gpu)
        };
        let connector = connector(&deployment.arms[0], deployment, &stack, None).unwrap();
        let extra = extra(&connector.unwrap().transfer_config(&places()));
        extra.get("self_describing_kv_events").cloned()
    };
    let routed = "{preset: native-offload, bytes: 1GiB, routing: llm-d-inmemory}";
    assert_eq!(of(32, routed, 2), Some(json!(true)));
    assert_eq!(of(32, routed, 1), None);
    assert_eq!(of(31, routed, 2), None);
    assert_eq!(of(32, "{preset: native-offload, bytes: 1GiB}", 2), None);
    // Salted prompts.
    let shared = "{preset: lmcache-redis, store: {address: 'redis://127.0.0.1:6379'}}";
    assert_eq!(of(32, &format!("{routed}, {shared}"), 2), None);
}

#[test]
fn on_two_ranks_vllm_is_told_the_total() {
    let plan = resolved(
        "name: keys\nmodels: [meta-llama/Llama-3.1-8B]\nhardware: 2x-h100\nengine: \
         {tensor_parallel: 2}\narms: [{preset: native-offload, bytes: 16GiB}]\nworkload: \
         {shared-prefix: {prefixes: 1, prefix_tokens: 100, prompt_tokens: 10, output_tokens: \
         4}}\nload: {users: [1], duration: 5s}\n",
    );
    let deployment = &plan.deployments[0];
    let of = |minor| {
        let stack = stack(minor, None, Platform::Gpu);
        let connector = connector(&deployment.arms[0], deployment, &stack, None).unwrap();
        extra(&connector.unwrap().transfer_config(&places()))
    };
    assert_eq!(of(32)["cpu_bytes_to_use"], 16u64 << 30);
    // 16 tokens have 2 MiB over both ranks; each rank has a block of 1 MiB for each of them.
    assert_eq!(of(13)["num_cpu_blocks"], 8192);
}

#[test]
fn what_a_release_does_not_have_is_refused() {
    let gpu = |minor, lmcache| stack(minor, lmcache, Platform::Gpu);
    let native = "native-offload";
    for (arm, stack, words) in [
        (native, gpu(10, None), "known for vLLM 0.11 to 0.32, and 0.10.0 is installed"),
        (native, gpu(33, None), "known for vLLM 0.11 to 0.32, and 0.33.0 is installed"),
        ("native-fs", gpu(22, None), "vLLM 0.22.0 has no file system tier of its own"),
        ("lmcache-local", gpu(32, None), "has no LMCache"),
        (
            "{preset: lmcache-local, lmcache_mode: server}",
            gpu(32, Some(3)),
            "LMCache 0.3.0 has no server",
        ),
    ] {
        let error = of(arm, &stack).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    let disk = extra(&of("native-fs", &gpu(23, None)).unwrap());
    assert_eq!(disk["secondary_tiers"][0]["root_dir"], "/disk");
}

#[test]
fn lmcache_is_a_server_from_the_release_on_that_has_it() {
    let of = |arm, minor| of(arm, &stack(32, Some(minor), Platform::Gpu)).unwrap();
    assert_eq!(of("lmcache-local", 5)["kv_connector"], "LMCacheMPConnector");
    assert_eq!(of("lmcache-local", 3)["kv_connector"], "LMCacheConnectorV1");
    let asked = "{preset: lmcache-local, lmcache_mode: in-process}";
    assert_eq!(of(asked, 5)["kv_connector"], "LMCacheConnectorV1");
    assert_eq!(of("no-offload", 5), Value::Null);
}

fn in_process_size((model, ranks): (&str, u32), arm: &str, name: &str) -> String {
    let plan = plan_of(model, ranks, arm, 1);
    let deployment = &plan.deployments[0];
    let offload = deployment.arms[0].offload.as_ref().unwrap();
    let settings = LmcacheInProcess::new(offload, deployment).variables(&places());
    settings.into_iter().find(|(key, _)| key == name).unwrap().1
}

#[test]
fn lmcache_in_the_engine_is_told_its_share_of_each_rank() {
    let llama = ("meta-llama/Llama-3.1-8B", 2);
    let host = "LMCACHE_MAX_LOCAL_CPU_SIZE";
    assert_eq!(in_process_size(llama, "{preset: lmcache-local, bytes: 18GiB}", host), "9");
    // Without a size, LMCache's default is 5.0 on each rank.
    assert_eq!(in_process_size(llama, "lmcache-local", host), "5");
    assert_eq!(in_process_size(llama, "lmcache-redis", host), "5");
    let disk = "{preset: lmcache-disk, bytes: 3GiB, disk: {bytes: 100GiB}}";
    assert_eq!(in_process_size(llama, disk, host), "1.5");
    assert_eq!(in_process_size(llama, disk, "LMCACHE_MAX_LOCAL_DISK_SIZE"), "50");
}

#[test]
fn of_latent_attention_one_rank_keeps_all() {
    let model = ("deepseek-ai/DeepSeek-V3", 8);
    let host = "LMCACHE_MAX_LOCAL_CPU_SIZE";
    assert_eq!(in_process_size(model, "{preset: lmcache-local, bytes: 18GiB}", host), "18");
    assert_eq!(in_process_size(model, "lmcache-local", host), "5");
}

#[test]
fn one_lmcache_server_has_the_bytes_of_all_ranks_and_replicas() {
    let stack = stack(32, Some(5), Platform::Gpu);
    for (replicas, size) in [(1, "18"), (3, "54")] {
        let arm = "{preset: lmcache-local, lmcache_mode: server, bytes: 18GiB}";
        let plan = plan_of("meta-llama/Llama-3.1-8B", 2, arm, replicas);
        let deployment = &plan.deployments[0];
        let connector = connector(&deployment.arms[0], deployment, &stack, None).unwrap().unwrap();
        let server = connector.server(&stack, &places()).unwrap();
        let at = server.args.iter().position(|arg| arg == "--l1-size-gb").unwrap();
        assert_eq!(server.args[at + 1], size);
    }
}
