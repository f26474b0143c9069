//! The command lines of an arm: what is started with which arguments and environment.
//!
//! Pure: from plan, installed software and places to recipes. What comes out is recorded with the
//! cell, so that anybody can start the same by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_engine::OffloadConfig;
use weir_model::{Bytes, TierKind};
use weir_spec::plan::{Arm, Deployment, LocalTarget, PoolSize, flag, lmcache_ranks};

use super::keys::{self, Connector};
use super::stack::{Platform, Stack};
use crate::process::Recipe;
use crate::remote::StorePlace;

/// Where the parts of an arm are.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// Scratch folder: working directory of the processes, and their modules.
    pub(super) scratch: PathBuf,
    pub(super) logs: PathBuf,
    /// The weights' folder or name.
    pub(super) weights: String,
    /// Folder of disk tiers.
    pub(super) disk: PathBuf,
    pub(super) store: Option<StorePlace>,
    /// Prefix of shared memory's names.
    pub(super) shared_memory: String,
    /// Ports of the LMCache server: messages, HTTP.
    pub(super) lmcache: (u16, u16),
}

/// The command line of an arm's `LMCache` server. One serves all ranks of all replicas.
pub(super) fn lmcache_server(
    arm: &Arm,
    offload: &OffloadConfig,
    replicas: u32,
    target: &LocalTarget,
    stack: &Stack,
    places: &Places,
) -> Recipe {
    let host = offload.tiers.iter().find(|tier| tier.kind == TierKind::Host);
    // The flag says GB and means GiB.
    let size = host.map_or(0.0, |tier| gib(tier.capacity) * f64::from(replicas));
    let mut args: Vec<String> = ["server", "--host", "127.0.0.1"].map(str::to_owned).to_vec();
    let mut add = |name: &str, value: String| args.extend([name.to_owned(), value]);
    add("--port", places.lmcache.0.to_string());
    add("--http-host", "127.0.0.1".to_owned());
    add("--http-port", places.lmcache.1.to_string());
    add("--l1-size-gb", size.to_string());
    // Whole numbers alone; what is not used yet is not there yet.
    add("--l1-init-size-gb", "1".to_owned());
    add("--eviction-policy", "LRU".to_owned());
    add("--chunk-size", offload.chunk_tokens.to_string());
    add("--supported-transfer-mode", "auto".to_owned());
    add("--shm-name", format!("{}lmcache", places.shared_memory));
    let disk = places.disk.display().to_string();
    if let Some(adapter) = keys::second_level(offload, places.store.as_ref(), Some(&disk)) {
        add("--l2-adapter", adapter.to_string());
    }
    let secret = places
        .store
        .as_ref()
        .and_then(|store| store.password.as_ref().map(|password| password.reveal().to_owned()));
    Recipe {
        name: "lmcache".to_owned(),
        program: stack.lmcache_program(),
        args,
        env: environment(target, arm, stack),
        folder: places.scratch.clone(),
        log: places.logs.join("lmcache.log"),
        secrets: secret.into_iter().collect(),
        withheld: given_names(target, arm),
        cores: None,
    }
}

/// The command line of one replica.
pub(super) fn vllm(
    arm: &Arm,
    deployment: &Deployment,
    target: &LocalTarget,
    stack: &Stack,
    places: &Places,
    replica: Replica,
) -> Recipe {
    let (program, mut args) = stack.vllm_program();
    args.push(places.weights.clone());
    let own = arguments((deployment, arm), target, stack, places, &replica);
    let added: Vec<String> =
        target.vllm_args.iter().chain(&arm.processes.vllm_args).cloned().collect();
    args.extend(merged(own, &added));
    let mut env = environment(target, arm, stack);
    let mut defaults = defaults((deployment, arm), stack, places, &replica);
    if matches!(replica.connector, Connector::LmcacheInProcess)
        && let Some(offload) = &arm.offload
    {
        defaults.extend(in_process(offload, deployment, places));
    }
    for (name, value) in defaults {
        env.entry(name).or_insert(value);
    }
    Recipe {
        name: format!("vllm-{}", replica.index),
        program,
        args,
        env,
        folder: places.scratch.clone(),
        log: places.logs.join(format!("vllm-{}.log", replica.index)),
        secrets: Vec::new(),
        withheld: given_names(target, arm),
        cores: replica.cores,
    }
}

#[derive(Debug, Clone)]
pub(super) struct Replica {
    pub(super) index: u32,
    pub(super) port: u16,
    /// Where it publishes KV events.
    pub(super) events_port: u16,
    pub(super) connector: Connector,
    /// Processors it may use; nothing: all.
    pub(super) cores: Option<Vec<usize>>,
    /// Threads that compute, where there is no GPU.
    pub(super) threads: usize,
}

/// Weir's own arguments: flag and value, the value empty for a bare flag.
fn arguments(
    (deployment, arm): (&Deployment, &Arm),
    target: &LocalTarget,
    stack: &Stack,
    places: &Places,
    replica: &Replica,
) -> Vec<(String, String)> {
    let engine = deployment.engine_of(arm);
    let mut list: Vec<(String, String)> = Vec::new();
    let mut add = |flag: &str, value: String| list.push((flag.to_owned(), value));
    add("--host", "127.0.0.1".to_owned());
    add("--port", replica.port.to_string());
    add("--served-model-name", deployment.model.name.clone());
    add("--block-size", deployment.vllm_block_size.to_string());
    add("--max-num-seqs", engine.max_num_seqs.to_string());
    add("--max-num-batched-tokens", engine.max_num_batched_tokens.to_string());
    add("--max-model-len", engine.max_model_len.to_string());
    match deployment.pool {
        // vLLM never gives out the first of its blocks.
        PoolSize::Given => add("--num-gpu-blocks-override", (engine.blocks + 1).to_string()),
        PoolSize::Share(share) => add("--gpu-memory-utilization", share.to_string()),
    }
    if deployment.tensor_parallel > 1 {
        add("--tensor-parallel-size", deployment.tensor_parallel.to_string());
    }
    if !engine.prefix_caching {
        add("--no-enable-prefix-caching", String::new());
    }
    if deployment.model.kv_bytes_per_element == 1 {
        add("--kv-cache-dtype", "fp8".to_owned());
    }
    match &target.dtype {
        Some(dtype) => add("--dtype", dtype.clone()),
        // vLLM's cache takes the type of the weights.
        None if deployment.model.kv_bytes_per_element == 4 => add("--dtype", "float32".to_owned()),
        None => {}
    }
    if stack.platform == Platform::Cpu {
        // There are no graphs to capture, and compiling takes longer than a cell.
        add("--enforce-eager", String::new());
        if deployment.tensor_parallel == 1 {
            add("--distributed-executor-backend", "uni".to_owned());
        }
    }
    if engine.prefix_caching {
        let config = json!({
            "enable_kv_cache_events": true,
            "publisher": "zmq",
            // The star makes it listen; an address would make it connect.
            "endpoint": format!("tcp://*:{}", replica.events_port),
            "topic": "",
        });
        add("--kv-events-config", config.to_string());
    }
    // Each answer says how much of its prompt was cached.
    add("--enable-prompt-tokens-details", String::new());
    match &replica.connector {
        Connector::None => {}
        Connector::Native(config) => add("--kv-transfer-config", config.to_string()),
        Connector::LmcacheInProcess => {
            let config = json!({"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_both"});
            add("--kv-transfer-config", config.to_string());
        }
        Connector::LmcacheServer => {
            add("--kv-transfer-config", server_connector(places).to_string());
            add("--disable-hybrid-kv-cache-manager", String::new());
        }
    }
    list
}

fn server_connector(places: &Places) -> Value {
    json!({
        "kv_connector": "LMCacheMPConnector",
        "kv_role": "kv_both",
        "kv_connector_extra_config": {
            "lmcache.mp.host": "tcp://127.0.0.1",
            "lmcache.mp.port": places.lmcache.0,
        },
    })
}

/// Weir's arguments without those that the user gives, then the user's.
fn merged(own: Vec<(String, String)>, added: &[String]) -> Vec<String> {
    let given: Vec<String> =
        added.iter().filter(|text| text.starts_with("--")).map(|text| flag(text)).collect();
    let mut args = Vec::new();
    for (name, value) in own {
        if given.contains(&name) {
            continue;
        }
        args.push(name);
        if !value.is_empty() {
            args.push(value);
        }
    }
    args.extend(added.iter().cloned());
    args
}

/// Names of the variables that the experiment gives.
fn given_names(target: &LocalTarget, arm: &Arm) -> BTreeSet<String> {
    target.env.keys().chain(arm.processes.env.keys()).cloned().collect()
}

/// What every process gets, with what the user adds.
fn environment(target: &LocalTarget, arm: &Arm, stack: &Stack) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = [
        ("VLLM_NO_USAGE_STATS", "1"),
        ("DO_NOT_TRACK", "1"),
        ("LMCACHE_TRACK_USAGE", "false"),
        // Keys of stored chunks may come from Python's own hash.
        ("PYTHONHASHSEED", "0"),
        // Every line of a log when it is written, for the causes of a sudden end.
        ("PYTHONUNBUFFERED", "1"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    if stack.platform == Platform::Cpu {
        env.insert("CUDA_VISIBLE_DEVICES".to_owned(), String::new());
    }
    env.extend(target.env.clone());
    env.extend(arm.processes.env.clone());
    env
}

/// What vLLM gets unless the user says otherwise.
fn defaults(
    (deployment, arm): (&Deployment, &Arm),
    stack: &Stack,
    places: &Places,
    replica: &Replica,
) -> Vec<(String, String)> {
    // The caches can be emptied.
    let mut env = vec![("VLLM_SERVER_DEV_MODE".to_owned(), "1".to_owned())];
    let mut add = |name: &str, value: String| env.push((name.to_owned(), value));
    if Path::new(&places.weights).is_dir() {
        add("HF_HUB_OFFLINE", "1".to_owned());
    }
    match stack.platform {
        Platform::Cpu => {
            let engine = deployment.engine_of(arm);
            let tokens = u64::from(engine.blocks + 1) * u64::from(engine.block_size);
            // vLLM wants whole GiB, of which it takes what the blocks need.
            let bytes = tokens * engine.kv_bytes_per_token;
            add("VLLM_CPU_KVCACHE_SPACE", bytes.div_ceil(1 << 30).max(1).to_string());
            add("PYTHONPATH", module_path(&places.scratch));
            // vLLM's own choice depends on whether a connector is there (0.32 keeps one more
            // processor free for it): arms would be compared with different numbers of threads.
            add("VLLM_CPU_OMP_THREADS_BIND", "nobind".to_owned());
            add("OMP_NUM_THREADS", replica.threads.to_string());
            // One process less, hence half the time to start.
            add("VLLM_ENABLE_V1_MULTIPROCESSING", "0".to_owned());
        }
        Platform::Gpu => {
            let count = deployment.hardware.count;
            let first = replica.index * count;
            let devices: Vec<String> =
                (first..first + deployment.tensor_parallel).map(|gpu| gpu.to_string()).collect();
            add("CUDA_VISIBLE_DEVICES", devices.join(","));
        }
    }
    env
}

/// Where the module of the CPU's specs is looked for first, before what is there already.
fn module_path(scratch: &Path) -> String {
    match std::env::var("PYTHONPATH") {
        Ok(others) if !others.is_empty() => format!("{}:{others}", scratch.display()),
        _ => scratch.display().to_string(),
    }
}

fn gib(bytes: Bytes) -> f64 {
    bytes.0 as f64 / (1u64 << 30) as f64
}

/// `LMCache`'s settings inside vLLM. Every rank reads them, and takes the sizes for itself alone.
fn in_process(
    offload: &OffloadConfig,
    deployment: &Deployment,
    places: &Places,
) -> Vec<(String, String)> {
    let ranks = lmcache_ranks(&deployment.model, deployment.tensor_parallel);
    let per_rank = |total: Bytes| (gib(total) / f64::from(ranks)).to_string();
    let mut env = vec![
        ("LMCACHE_CHUNK_SIZE".to_owned(), offload.chunk_tokens.to_string()),
        ("LMCACHE_PRE_CACHING_HASH_ALGORITHM".to_owned(), "sha256_cbor".to_owned()),
        ("LMCACHE_LOCAL_CPU".to_owned(), "True".to_owned()),
    ];
    for tier in &offload.tiers {
        match tier.kind {
            TierKind::Host => {
                env.push(("LMCACHE_MAX_LOCAL_CPU_SIZE".to_owned(), per_rank(tier.capacity)));
            }
            TierKind::Disk => {
                let folder = format!("file://{}/", places.disk.display());
                env.push(("LMCACHE_LOCAL_DISK".to_owned(), folder));
                env.push(("LMCACHE_MAX_LOCAL_DISK_SIZE".to_owned(), per_rank(tier.capacity)));
            }
            TierKind::Gpu | TierKind::Remote => {}
        }
    }
    if let Some(StorePlace { host, port, .. }) = &places.store {
        env.push(("LMCACHE_REMOTE_URL".to_owned(), format!("redis://{host}:{port}")));
        env.push(("LMCACHE_REMOTE_SERDE".to_owned(), "naive".to_owned()));
    }
    env
}

#[cfg(test)]
mod tests {
    use weir_spec::document::quantity::Version;
    use weir_spec::{Experiment, Plan};

    use super::*;

    fn plan(model: &str, ranks: u32, arm: &str, replicas: u32) -> Plan {
        let text = format!(
            "name: command\nmodels: [{model}]\nhardware: {ranks}x-h200\nreplicas: {replicas}\n\
             engine: {{tensor_parallel: {ranks}, max_model_len: 8192}}\narms: [{arm}]\nworkload: \
             {{shared-prefix: {{prefixes: 1, prefix_tokens: 100, prompt_tokens: 10, \
             output_tokens: 4}}}}\nload: {{users: [1], duration: 5s}}\n"
        );
        let experiment = Experiment::parse(&text, "command.yaml", Path::new(""), &[]).unwrap();
        Plan::resolve(&experiment).unwrap()
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

    fn in_process_size((model, ranks): (&str, u32), arm: &str, name: &str) -> String {
        let plan = plan(model, ranks, arm, 1);
        let deployment = &plan.deployments[0];
        let offload = deployment.arms[0].offload.as_ref().unwrap();
        let settings = in_process(offload, deployment, &places());
        settings.into_iter().find(|(key, _)| key == name).unwrap().1
    }

    #[test]
    fn lmcache_in_the_engine_is_told_its_share_of_each_rank() {
        let llama = ("meta-llama/Llama-3.1-8B", 2);
        let host = "LMCACHE_MAX_LOCAL_CPU_SIZE";
        assert_eq!(in_process_size(llama, "{preset: lmcache-local, bytes: 18GiB}", host), "9");
        // What nobody sizes is LMCache's own default, 5.0 on each rank.
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
        let version = |minor| Version { major: 0, minor, patch: 0 };
        let stack = Stack {
            python: PathBuf::from("python3"),
            vllm: version(32),
            vllm_text: "0.32.0".to_owned(),
            lmcache: Some(version(5)),
            platform: Platform::Gpu,
        };
        for (replicas, size) in [(1, "18"), (3, "54")] {
            let arm = "{preset: lmcache-local, lmcache_mode: server, bytes: 18GiB}";
            let plan = plan("meta-llama/Llama-3.1-8B", 2, arm, replicas);
            let arm = &plan.deployments[0].arms[0];
            let offload = arm.offload.as_ref().unwrap();
            let target = LocalTarget::default();
            let recipe = lmcache_server(arm, offload, replicas, &target, &stack, &places());
            let at = recipe.args.iter().position(|arg| arg == "--l1-size-gb").unwrap();
            assert_eq!(recipe.args[at + 1], size);
        }
    }
}
