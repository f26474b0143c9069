//! What connectors want to be told, by version.
//!
//! Names changed between releases, and a name that a release does not know is often ignored, not
//! refused: the arm then runs as its own baseline. So each name stands here with the releases that
//! read it, and what is known of none is refused before anything starts.
//!
//! Read in vLLM's sources and pull requests: `OffloadingConnector` came with 0.11 and was sized by
//! `num_cpu_blocks`; `cpu_bytes_to_use` took its place in January 2026 (#24498), hence from 0.14
//! on. Secondary tiers (`TieringOffloadingSpec`) followed the last separate file system connector
//! of llm-d, which was for 0.22. `LMCache`'s server mode is the default since 0.4.

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
const FIRST_OFFLOADING: u32 = 11;
/// The first that is sized in bytes.
const FIRST_BYTES: u32 = 14;
/// The first with tiers behind host memory.
const FIRST_TIERING: u32 = 23;
/// The first `LMCache` whose server is the default.
const FIRST_SERVER: u32 = 4;

/// The first pair of which a request's salt was seen in the keys of what LMCache's server stored.
const FIRST_SALTED: (u32, Version) = (32, Version { major: 0, minor: 5, patch: 6 });

/// The module with the specs that let vLLM's own offloading run without a GPU.
pub(super) const CPU_MODULE: &str = "weir_cpu_offload";
const CPU_SPEC: &str = "WeirCpuOffloadingSpec";
const CPU_TIERING_SPEC: &str = "WeirCpuTieringSpec";

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
        Mechanism::Lmcache | Mechanism::LmcacheServer => lmcache(arm, stack),
    }
}

/// Whether requests carry a salt, so that what is stored of them bears it in its key. All arms do,
/// where one has a store that others may use: they are to differ in nothing else.
pub(super) fn is_salted(deployment: &Deployment, stack: &Stack) -> bool {
    let (vllm, lmcache) = FIRST_SALTED;
    let reads = stack.vllm.minor >= vllm && stack.lmcache.is_some_and(|found| found >= lmcache);
    // LMCache in the engine has no salt in its keys.
    let in_process = |arm: &Arm| arm.processes.lmcache_mode == Some(LmcacheMode::InProcess);
    let shared = || deployment.arms.iter().filter(|arm| arm.store_access.is_some());
    reads && shared().next().is_some() && !shared().any(in_process)
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
    let growths = deployment.model.kv_layers();
    if growths.iter().all(|of| of.kind.growth() == Some(1)) {
        extra.insert("block_size".to_owned(), json!(offload.chunk_tokens));
    } else {
        // Groups of layers may have blocks of different lengths, for which a number of tokens is
        // refused.
        let blocks = offload.chunk_tokens / deployment.engine_of(arm).block_size.max(1);
        extra.insert("blocks_per_chunk".to_owned(), json!(blocks));
    }
    if minor >= FIRST_BYTES {
        extra.insert("cpu_bytes_to_use".to_owned(), json!(host));
    } else {
        // Each rank has so many blocks of its own part of the bytes.
        let copies =
            if deployment.model.kv_is_replicated() { deployment.tensor_parallel } else { 1 };
        let chunk = offload.chunk_bytes.kept * u64::from(copies);
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
        extra.insert(
            "secondary_tiers".to_owned(),
            json!([{"type": "fs", "root_dir": root, "enable_kv_events": true}]),
        );
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
    let has_disk = offload.tiers.iter().any(|tier| tier.kind == TierKind::Disk);
    // `fs` knows no size: a `max_capacity_gb` is ignored.
    if has_disk { Some(json!({"type": "fs", "base_path": disk?})) } else { None }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use weir_spec::{Experiment, Plan};

    use super::*;

    fn plan(arms: &str) -> Plan {
        let text = format!(
            "name: keys\nmodels: [weir/tiny-qwen3]\nhardware: 1x-cpu\nengine: {{kv_tokens: 4096, \
             block_size: 32, max_model_len: 2048}}\narms: {arms}\nworkload: {{shared-prefix: \
             {{prefixes: 1, prefix_tokens: 100, prompt_tokens: 10, output_tokens: 4}}}}\nload: \
             {{users: [1], duration: 5s}}\n"
        );
        Plan::resolve(&Experiment::parse(&text, "keys.yaml", Path::new(""), &[]).unwrap()).unwrap()
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

    fn of(arm: &str, stack: &Stack) -> Result<Connector, String> {
        let plan = plan(&format!("[{arm}]"));
        let deployment = &plan.deployments[0];
        connector(&deployment.arms[0], deployment, stack, Some("/disk"))
            .map_err(|error| error.to_string())
    }

    fn extra(connector: Connector) -> Value {
        let Connector::Native(config) = connector else { panic!("{connector:?}") };
        config["kv_connector_extra_config"].clone()
    }

    #[test]
    fn the_size_of_host_memory_has_the_name_of_the_release() {
        let arm = "{preset: native-offload, bytes: 1GiB}";
        let old = extra(of(arm, &stack(11, None, Platform::Gpu)).unwrap());
        // A block of 32 tokens has 4096 bytes each.
        assert_eq!(old["num_cpu_blocks"], (1u64 << 30) / (32 * 4096));
        assert_eq!(old.get("cpu_bytes_to_use"), None);
        let new = extra(of(arm, &stack(14, None, Platform::Gpu)).unwrap());
        assert_eq!(new["cpu_bytes_to_use"], 1u64 << 30);
        assert_eq!(new.get("num_cpu_blocks"), None);
        assert_eq!(new.get("spec_name"), None);
        let cpu = extra(of(arm, &stack(32, None, Platform::Cpu)).unwrap());
        assert_eq!(cpu["spec_name"], CPU_SPEC);
    }

    #[test]
    fn on_two_ranks_vllm_is_told_the_total() {
        let text = "name: keys\nmodels: [meta-llama/Llama-3.1-8B]\nhardware: 2x-h100\nengine: \
                    {tensor_parallel: 2}\narms: [{preset: native-offload, bytes: 16GiB}]\n\
                    workload: {shared-prefix: {prefixes: 1, prefix_tokens: 100, prompt_tokens: \
                    10, output_tokens: 4}}\nload: {users: [1], duration: 5s}\n";
        let experiment = Experiment::parse(text, "keys.yaml", Path::new(""), &[]).unwrap();
        let plan = Plan::resolve(&experiment).unwrap();
        let deployment = &plan.deployments[0];
        let of = |minor| {
            let stack = stack(minor, None, Platform::Gpu);
            extra(connector(&deployment.arms[0], deployment, &stack, None).unwrap())
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
        let disk = extra(of("native-fs", &gpu(23, None)).unwrap());
        assert_eq!(disk["secondary_tiers"][0]["root_dir"], "/disk");
    }

    #[test]
    fn lmcache_is_a_server_from_the_release_on_that_has_it() {
        let of = |arm, minor| of(arm, &stack(32, Some(minor), Platform::Gpu)).unwrap();
        assert_eq!(of("lmcache-local", 5), Connector::LmcacheServer);
        assert_eq!(of("lmcache-local", 3), Connector::LmcacheInProcess);
        let asked = "{preset: lmcache-local, lmcache_mode: in-process}";
        assert_eq!(of(asked, 5), Connector::LmcacheInProcess);
        assert_eq!(of("no-offload", 5), Connector::None);
    }
}
