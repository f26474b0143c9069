//! Command lines and environments of an arm's processes.
//!
//! Pure functions of plan, installed software and places. The result is recorded with the cell, so
//! that it can be repeated by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::json;
use weir_model::Bytes;
use weir_spec::plan::{Arm, Deployment, LocalTarget, PoolSize, flag};

use super::mechanism::{Connector, ServerCommand};
use super::stack::{Platform, Stack};
use crate::address::Listening;
use crate::process::Recipe;
use crate::remote::StorePlace;

#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Working directory of the processes, with their modules.
    pub(crate) scratch: PathBuf,
    pub(crate) logs: PathBuf,
    pub(crate) weights: String,
    pub(crate) disk: PathBuf,
    pub(crate) store: Option<StorePlace>,
    pub(crate) shared_memory: String,
    /// Messages and HTTP.
    pub(crate) lmcache: (u16, u16),
}

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

pub(super) fn vllm(
    arm: &Arm,
    deployment: &Deployment,
    target: &LocalTarget,
    stack: &Stack,
    places: &Places,
    replica: VllmReplica<'_>,
) -> Recipe {
    let (program, mut args) = stack.vllm_program();
    let (behind, env) = vllm_command(arm, deployment, target, stack, places, &replica);
    args.extend(behind);
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

/// Arguments behind `vllm serve`, and the environment.
pub(crate) fn vllm_command(
    arm: &Arm,
    deployment: &Deployment,
    target: &LocalTarget,
    stack: &Stack,
    places: &Places,
    replica: &VllmReplica<'_>,
) -> (Vec<String>, BTreeMap<String, String>) {
    let own = arguments((deployment, arm), target, stack, places, replica);
    let added: Vec<String> =
        target.vllm_args.iter().chain(&arm.processes.vllm_args).cloned().collect();
    let mut args = vec![places.weights.clone()];
    args.extend(merged(own, &added));
    let mut env = environment(target, arm, stack);
    let mut defaults = defaults((deployment, arm), stack, places, replica);
    if let Some(connector) = replica.connector {
        defaults.extend(connector.variables(places));
    }
    for (name, value) in defaults {
        env.entry(name).or_insert(value);
    }
    (args, env)
}

#[derive(Debug, Clone)]
pub(crate) struct VllmReplica<'a> {
    pub(crate) index: u32,
    pub(crate) at: Listening,
    /// None for the GPU's cache alone.
    pub(crate) connector: Option<&'a dyn Connector>,
    /// CPUs it may use. None for all.
    pub(crate) cores: Option<Vec<usize>>,
    pub(crate) threads: usize,
}

/// Flag and value; a bare flag has an empty value.
fn arguments(
    (deployment, arm): (&Deployment, &Arm),
    target: &LocalTarget,
    stack: &Stack,
    places: &Places,
    replica: &VllmReplica<'_>,
) -> Vec<(String, String)> {
    let engine = deployment.engine_of(arm);
    let mut list: Vec<(String, String)> = Vec::new();
    let mut add = |flag: &str, value: String| list.push((flag.to_owned(), value));
    add("--host", replica.at.host.clone());
    add("--port", replica.at.port.to_string());
    add("--served-model-name", deployment.model.name.clone());
    add("--block-size", deployment.vllm_block_size.to_string());
    add("--max-num-seqs", engine.max_num_seqs.to_string());
    add("--max-num-batched-tokens", engine.max_num_batched_tokens.to_string());
    add("--max-model-len", engine.max_model_len.to_string());
    match deployment.pool {
        // vLLM never uses its first block.
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
        // vLLM's cache has the type of the weights.
        None if deployment.model.kv_bytes_per_element == 4 => add("--dtype", "float32".to_owned()),
        None => {}
    }
    if stack.platform == Platform::Cpu {
        // Nothing to capture on a CPU, and compiling takes longer than a cell.
        add("--enforce-eager", String::new());
        if deployment.tensor_parallel == 1 {
            add("--distributed-executor-backend", "uni".to_owned());
        }
    }
    if engine.prefix_caching {
        let events = json!({
            "enable_kv_cache_events": true,
            "publisher": "zmq",
            "endpoint": replica.at.events_bind,
            "topic": replica.at.events_topic,
        });
        add("--kv-events-config", events.to_string());
    }
    // Each answer reports its cached prompt tokens.
    add("--enable-prompt-tokens-details", String::new());
    if let Some(connector) = replica.connector {
        add("--kv-transfer-config", connector.transfer_config(places).to_string());
        for flag in connector.flags() {
            add(flag, String::new());
        }
    }
    list
}

/// A user's argument replaces Weir's.
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

fn given_names(target: &LocalTarget, arm: &Arm) -> BTreeSet<String> {
    target.env.keys().chain(arm.processes.env.keys()).cloned().collect()
}

fn environment(target: &LocalTarget, arm: &Arm, stack: &Stack) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = [
        ("VLLM_NO_USAGE_STATS", "1"),
        ("DO_NOT_TRACK", "1"),
        ("LMCACHE_TRACK_USAGE", "false"),
        // Keys of stored chunks may come from Python's own hash.
        ("PYTHONHASHSEED", "0"),
        // The last lines before a sudden end must reach the log.
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

/// Variables of vLLM that the user may replace.
fn defaults(
    (deployment, arm): (&Deployment, &Arm),
    stack: &Stack,
    places: &Places,
    replica: &VllmReplica<'_>,
) -> Vec<(String, String)> {
    // Needed for emptying the caches.
    let mut env = vec![("VLLM_SERVER_DEV_MODE".to_owned(), "1".to_owned())];
    let mut add = |name: &str, value: String| env.push((name.to_owned(), value));
    if Path::new(&places.weights).is_dir() {
        add("HF_HUB_OFFLINE", "1".to_owned());
    }
    match stack.platform {
        Platform::Cpu => {
            let engine = deployment.engine_of(arm);
            let tokens = u64::from(engine.blocks + 1) * u64::from(engine.block_size);
            // vLLM takes whole GiB, and uses what the blocks need.
            let bytes = tokens * engine.kv_bytes_per_token;
            add("VLLM_CPU_KVCACHE_SPACE", bytes.div_ceil(1 << 30).max(1).to_string());
            add("PYTHONPATH", module_path(&places.scratch));
            // vLLM's default depends on the connector (0.32 keeps one more CPU free for it): arms
            // would have different numbers of threads.
            add("VLLM_CPU_OMP_THREADS_BIND", "nobind".to_owned());
            add("OMP_NUM_THREADS", replica.threads.to_string());
            // One process less halves the start.
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

/// The CPU specs' module comes before existing paths.
fn module_path(scratch: &Path) -> String {
    match std::env::var("PYTHONPATH") {
        Ok(others) if !others.is_empty() => format!("{}:{others}", scratch.display()),
        _ => scratch.display().to_string(),
    }
}

pub(super) fn gib(bytes: Bytes) -> f64 {
    bytes.0 as f64 / (1u64 << 30) as f64
}
