//! What connectors want to be told, by version.
//!
//! Names changed between releases, and a name that a release does not know is often ignored, not
//! refused: the arm then runs as its own baseline. So each name stands here with the releases that
//! read it, and what is known of none is refused before anything starts.
//!
//! Read in vLLM's sources and pull requests: `OffloadingConnector` came with 0.11 and was sized by
//! `num_cpu_blocks`; `cpu_bytes_to_use` took its place in January 2026 (#24498), hence from 0.14 on.
//! Secondary tiers (`TieringOffloadingSpec`) followed the last separate file system connector of
//! llm-d, which was for 0.22. `LMCache`'s server mode is the default since 0.4.

use std::path::Path;

use serde_json::{Map, Value, json};
use weir_engine::{Mechanism, OffloadConfig};
use weir_model::TierKind;
use weir_spec::document::quantity::Version;
use weir_spec::plan::{Arm, Deployment, LmcacheMode};
use weir_tier::EvictionPolicy;

use super::stack::{Platform, Stack};
use crate::error::DeployError;
use crate::remote::StorePlace;

/// The newest vLLM whose keys were read.
const NEWEST_VLLM: u32 = 32;
/// The first with an `OffloadingConnector`.
const FIRST_OFFLOADING: u32 = 11;
/// The first that is sized in bytes.
const FIRST_BYTES: u32 = 14;
/// The first with tiers behind host memory.
const FIRST_TIERING: u32 = 23;
/// The first `LMCache` whose server is the default.
const FIRST_SERVER: u32 = 4;

/// The module with the specs that let vLLM's own offloading run without a GPU.
pub(super) const CPU_MODULE: &str = "weir_cpu_offload";
const CPU_SPEC: &str = "WeirCpuOffloadingSpec";
const CPU_TIERING_SPEC: &str = "WeirCpuTieringSpec";

/// The module itself.
const CPU_MODULE_TEXT: &str = include_str!("python/weir_cpu_offload.py");

/// Writes the module into a folder that the engine looks for modules in.
pub(super) fn write_cpu_module(folder: &Path) -> Result<(), DeployError> {
    let path = folder.join(format!("{CPU_MODULE}.py"));
    std::fs::write(&path, CPU_MODULE_TEXT).map_err(|source| DeployError::File {
        what: "the module for the CPU",
        path: path.display().to_string(),
        source,
    })
}

/// What an arm's mechanism is, as far as processes are concerned.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Connector {
    /// The GPU's cache alone.
    None,
    /// vLLM's own; the value of `--kv-transfer-config`.
    Native(Value),
    /// `LMCache` inside vLLM.
    LmcacheInProcess,
    /// `LMCache` beside vLLM.
    LmcacheServer,
}

/// The connector of an arm on this stack.
pub(super) fn connector(
    arm: &Arm,
    deployment: &Deployment,
    stack: &Stack,
    disk: Option<&str>,
) -> Result<Connector, DeployError> {
    let Some(offload) = &arm.offload else { return Ok(Connector::None) };
    known(arm, stack.vllm)?;
    match offload.mechanism {
        Mechanism::Native => native(arm, offload, deployment, stack, disk).map(Connector::Native),
        Mechanism::Lmcache => lmcache(arm, stack),
    }
}

fn refused(arm: &Arm, problem: String, remedy: &str) -> DeployError {
    DeployError::Unsupported { arm: arm.name.clone(), problem, remedy: remedy.to_owned() }
}

/// Refuses a vLLM whose names nobody has read.
fn known(arm: &Arm, vllm: Version) -> Result<(), DeployError> {
    if vllm.major == 0 && (FIRST_OFFLOADING..=NEWEST_VLLM).contains(&vllm.minor) {
        return Ok(());
    }
    Err(refused(
        arm,
        format!(
            "the names of connector settings are known for vLLM 0.{FIRST_OFFLOADING} to \
             0.{NEWEST_VLLM}, and {vllm} is installed"
        ),
        "install one of those: a name that a release does not know may be ignored without a word",
    ))
}

fn native(
    arm: &Arm,
    offload: &OffloadConfig,
    deployment: &Deployment,
    stack: &Stack,
    disk: Option<&str>,
) -> Result<Value, DeployError> {
    let minor = stack.vllm.minor;
    let host = offload.tiers.first().map_or(0, |tier| tier.capacity.0);
    let mut extra = Map::new();
    extra.insert("block_size".to_owned(), json!(offload.chunk_tokens));
    if minor >= FIRST_BYTES {
        extra.insert("cpu_bytes_to_use".to_owned(), json!(host));
    } else {
        let chunk = deployment.engine.kv_bytes_per_token * u64::from(offload.chunk_tokens);
        extra.insert("num_cpu_blocks".to_owned(), json!(host / chunk.max(1)));
    }
    let policy = offload.tiers.first().map_or(EvictionPolicy::Lru, |tier| tier.policy);
    match policy {
        EvictionPolicy::Lru => {}
        EvictionPolicy::Arc if minor >= FIRST_BYTES => {
            extra.insert("eviction_policy".to_owned(), json!("arc"));
        }
        EvictionPolicy::Arc | EvictionPolicy::None => {
            let problem = format!("vLLM {} has no eviction policy `{policy:?}`", stack.vllm);
            return Err(refused(arm, problem, "write `policy: lru`"));
        }
    }
    if !offload.prompt_only && minor >= FIRST_BYTES {
        extra.insert("offload_prompt_only".to_owned(), json!(false));
    }
    let tiered = offload.tiers.len() > 1;
    if tiered {
        if minor < FIRST_TIERING {
            return Err(refused(
                arm,
                format!("vLLM {} has no file system tier of its own", stack.vllm),
                &format!("install vLLM 0.{FIRST_TIERING} or later, or use `lmcache-disk`"),
            ));
        }
        let root = disk.unwrap_or_default();
        extra.insert("spec_name".to_owned(), json!("TieringOffloadingSpec"));
        extra.insert("secondary_tiers".to_owned(), json!([{"type": "fs", "root_dir": root}]));
    }
    if stack.platform == Platform::Cpu {
        // vLLM's workers copy with CUDA streams; the spec of ours replaces the copy alone.
        let spec = if tiered { CPU_TIERING_SPEC } else { CPU_SPEC };
        extra.insert("spec_name".to_owned(), json!(spec));
        extra.insert("spec_module_path".to_owned(), json!(CPU_MODULE));
    }
    Ok(json!({
        "kv_connector": "OffloadingConnector",
        "kv_role": "kv_both",
        "kv_connector_extra_config": extra,
    }))
}

fn lmcache(arm: &Arm, stack: &Stack) -> Result<Connector, DeployError> {
    let Some(version) = stack.lmcache else {
        return Err(refused(
            arm,
            format!("{} has no LMCache", stack.python.display()),
            "install `lmcache` beside vLLM, or use `native-offload`",
        ));
    };
    let has_server = version.major > 0 || version.minor >= FIRST_SERVER;
    match arm.processes.lmcache_mode {
        Some(LmcacheMode::InProcess) => Ok(Connector::LmcacheInProcess),
        Some(LmcacheMode::Server) if !has_server => Err(refused(
            arm,
            format!("LMCache {version} has no server"),
            "install 0.4 or later, or write `lmcache_mode: in-process`",
        )),
        None if !has_server => Ok(Connector::LmcacheInProcess),
        Some(LmcacheMode::Server) | None => Ok(Connector::LmcacheServer),
    }
}

/// The second level of an `LMCache` server, as its `--l2-adapter` wants it.
pub(super) fn second_level(
    offload: &OffloadConfig,
    store: Option<&StorePlace>,
    disk: Option<&str>,
) -> Option<Value> {
    if let Some(store) = store {
        let mut adapter =
            json!({"type": "resp", "host": store.host, "port": store.port, "num_workers": 2});
        if let Some(user) = &store.user {
            adapter["username"] = json!(user);
        }
        if let Some(password) = &store.password {
            adapter["password"] = json!(password.reveal());
        }
        return Some(adapter);
    }
    let tier = offload.tiers.iter().find(|tier| tier.kind == TierKind::Disk)?;
    Some(json!({
        "type": "fs",
        "base_path": disk?,
        "max_capacity_gb": tier.capacity.0 as f64 / 1e9,
    }))
}
