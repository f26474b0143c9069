//! vLLM's own `OffloadingConnector`, in the engine's process.

use std::path::Path;

use serde_json::{Map, Value, json};
use weir_engine::OffloadConfig;
use weir_model::Mechanism;
use weir_spec::plan::{Arm, Deployment};
use weir_tier::EvictionPolicy;

use super::super::command::Places;
use super::super::stack::{Platform, Stack};
use super::{Connector, is_salted, refused};
use crate::error::DeployError;

/// First minor version (0.x) with a connector sized in bytes.
const FIRST_BYTES: u32 = 14;
/// The first with tiers behind host memory.
const FIRST_TIERING: u32 = 23;
/// The first that was read with KV events that have a chunk's tokens.
const FIRST_DESCRIBING: u32 = 32;

/// Specs that let the connector run without a GPU.
const CPU_MODULE: &str = "weir_cpu_offload";
const CPU_MODULE_TEXT: &str = include_str!("../python/weir_cpu_offload.py");
pub(super) const CPU_SPEC: &str = "WeirCpuOffloadingSpec";
const CPU_TIERING_SPEC: &str = "WeirCpuTieringSpec";

#[derive(Debug)]
pub(super) struct Native {
    config: Value,
    platform: Platform,
}

impl Native {
    pub(super) fn new(
        arm: &Arm,
        offload: &OffloadConfig,
        deployment: &Deployment,
        stack: &Stack,
        disk: Option<&str>,
    ) -> Result<Self, DeployError> {
        let minor = stack.vllm.minor;
        let mut extra = sizes(arm, offload, deployment, minor);
        extra.extend(rules(arm, offload, stack)?);
        if describes_chunks(arm, deployment, stack) {
            extra.insert("self_describing_kv_events".to_owned(), json!(true));
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
            extra.insert(
                "secondary_tiers".to_owned(),
                json!([{"type": "fs", "root_dir": root, "enable_kv_events": true}]),
            );
        }
        if stack.platform == Platform::Cpu {
            // vLLM's workers copy with CUDA streams; Weir's spec replaces only the copy.
            let spec = if tiered { CPU_TIERING_SPEC } else { CPU_SPEC };
            extra.insert("spec_name".to_owned(), json!(spec));
            extra.insert("spec_module_path".to_owned(), json!(CPU_MODULE));
        }
        let config = json!({
            "kv_connector": Mechanism::Native.traits().connector,
            "kv_role": "kv_both",
            "kv_connector_extra_config": extra,
        });
        Ok(Self { config, platform: stack.platform })
    }
}

/// Otherwise a router can place a chunk only while the GPU has its last block. What vLLM describes
/// lacks the salt of the prompt.
fn describes_chunks(arm: &Arm, deployment: &Deployment, stack: &Stack) -> bool {
    arm.is_routed()
        && deployment.replicas > 1
        && stack.vllm.minor >= FIRST_DESCRIBING
        && !is_salted(deployment, stack)
}

impl Connector for Native {
    fn transfer_config(&self, _places: &Places) -> Value {
        self.config.clone()
    }

    fn write_modules(&self, folder: &Path) -> Result<(), DeployError> {
        if self.platform == Platform::Gpu {
            return Ok(());
        }
        let path = folder.join(format!("{CPU_MODULE}.py"));
        std::fs::write(&path, CPU_MODULE_TEXT).map_err(|source| DeployError::File {
            what: "the module for the CPU",
            path: path.display().to_string(),
            source,
        })
    }
}

fn sizes(
    arm: &Arm,
    offload: &OffloadConfig,
    deployment: &Deployment,
    minor: u32,
) -> Map<String, Value> {
    let host = offload.tiers.first().map_or(0, |tier| tier.capacity.0);
    let mut extra = Map::new();
    let growths = deployment.model.kv_layers();
    if growths.iter().all(|of| of.kind.growth() == Some(1)) {
        extra.insert("block_size".to_owned(), json!(offload.chunk_tokens));
    } else {
        // Groups of layers may differ in block length; a number of tokens is then refused.
        let blocks = offload.chunk_tokens / deployment.engine_of(arm).block_size.max(1);
        extra.insert("blocks_per_chunk".to_owned(), json!(blocks));
    }
    if minor >= FIRST_BYTES {
        extra.insert("cpu_bytes_to_use".to_owned(), json!(host));
    } else {
        // Each rank has this many blocks of its part of the bytes.
        let copies =
            if deployment.model.kv_is_replicated() { deployment.tensor_parallel } else { 1 };
        let chunk = offload.chunk_bytes.kept * u64::from(copies);
        extra.insert("num_cpu_blocks".to_owned(), json!(host / chunk.max(1)));
    }
    extra
}

fn rules(
    arm: &Arm,
    offload: &OffloadConfig,
    stack: &Stack,
) -> Result<Map<String, Value>, DeployError> {
    let minor = stack.vllm.minor;
    let mut extra = Map::new();
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
    Ok(extra)
}
