//! The command lines of an arm: what is started with which arguments and environment.
//!
//! Pure: from plan, installed software and places to recipes. What comes out is recorded with the
//! cell, so that anybody can start the same by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::json;
use weir_model::Bytes;
use weir_spec::plan::{Arm, Deployment, LocalTarget, PoolSize, flag};

use super::mechanism::{Connector, ServerCommand};
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

/// The command line of what a mechanism runs beside the replicas.
pub(super) fn beside(
    server: ServerCommand,
    arm: &Arm,
    target: &LocalTarget,
    stack: &Stack,
    places: &Places,
) -> Recipe {
    Recipe {
        name: server.name.to_owned(),
        program: server.program,
        args: server.args,
        env: environment(target, arm, stack),
        folder: places.scratch.clone(),
        log: places.logs.join(format!("{}.log", server.name)),
        secrets: server.secrets,
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
    replica: Replica<'_>,
) -> Recipe {
    let (program, mut args) = stack.vllm_program();
    args.push(places.weights.clone());
    let own = arguments((deployment, arm), target, stack, places, &replica);
    let added: Vec<String> =
        target.vllm_args.iter().chain(&arm.processes.vllm_args).cloned().collect();
    args.extend(merged(own, &added));
    let mut env = environment(target, arm, stack);
    let mut defaults = defaults((deployment, arm), stack, places, &replica);
    if let Some(connector) = replica.connector {
        defaults.extend(connector.variables(places));
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
pub(super) struct Replica<'a> {
    pub(super) index: u32,
    pub(super) port: u16,
    /// Where it publishes KV events.
    pub(super) events_port: u16,
    /// Nothing for the GPU's cache alone.
    pub(super) connector: Option<&'a dyn Connector>,
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
    replica: &Replica<'_>,
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
    if let Some(connector) = replica.connector {
        add("--kv-transfer-config", connector.transfer_config(places).to_string());
        for flag in connector.flags() {
            add(flag, String::new());
        }
    }
    list
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
    replica: &Replica<'_>,
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

pub(super) fn gib(bytes: Bytes) -> f64 {
    bytes.0 as f64 / (1u64 << 30) as f64
}
