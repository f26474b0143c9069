//! Offload mechanisms as processes, one file per mechanism: vLLM's configuration, the server
//! beside it, key names.
//!
//! Releases often ignore unknown names instead of refusing them: the arm then runs as its own
//! baseline. So each name has its releases here, and unknown releases are refused before the
//! start.
//!
//! From vLLM's sources and pull requests: `OffloadingConnector` came with 0.11, sized by
//! `num_cpu_blocks`; `cpu_bytes_to_use` replaced that in January 2026 (#24498), from 0.14 on.
//! Secondary tiers (`TieringOffloadingSpec`) followed llm-d's last separate file system connector,
//! for 0.22. `LMCache`'s server mode is the default since 0.4.

mod lmcache_in_process;
pub(super) mod lmcache_server;
mod native;

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_engine::OffloadConfig;
use weir_model::Mechanism;
use weir_model::quantity::Version;
use weir_spec::plan::{Arm, Deployment, LmcacheMode};
use weir_store::KeyLayout;

use super::command::Places;
use super::stack::Stack;
use crate::error::DeployError;

use lmcache_in_process::LmcacheInProcess;
use lmcache_server::LmcacheServer;
use native::Native;

/// The newest vLLM whose names were read (minor version).
const NEWEST_VLLM: u32 = 32;
const FIRST_OFFLOADING: u32 = 11;

/// The first pair with a request's salt in the keys of LMCache's server, as observed.
const FIRST_SALTED: (u32, Version) = (32, Version { major: 0, minor: 5, patch: 6 });

/// An arm's mechanism in terms of processes.
pub(crate) trait Connector: fmt::Debug {
    fn transfer_config(&self, places: &Places) -> Value;

    fn flags(&self) -> &'static [&'static str] {
        &[]
    }

    /// Defaults in vLLM's environment, which the user may replace.
    fn variables(&self, _places: &Places) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Into a folder on the engine's module path.
    fn write_modules(&self, _folder: &Path) -> Result<(), DeployError> {
        Ok(())
    }

    fn server(&self, _stack: &Stack, _places: &Places) -> Option<ServerCommand> {
        None
    }

    /// Keys in a remote store for an engine with these weights. None for a mechanism without a
    /// store.
    fn layout(&self, _weights: &str, _salt: Option<String>) -> Option<KeyLayout> {
        None
    }
}

#[derive(Debug)]
pub(crate) struct ServerCommand {
    pub(super) name: &'static str,
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    /// Words of the arguments that are not recorded.
    pub(super) secrets: Vec<String>,
}

/// None for the GPU's cache alone.
pub(crate) fn connector<'a>(
    arm: &'a Arm,
    deployment: &Deployment,
    stack: &Stack,
    disk: Option<&str>,
) -> Result<Option<Box<dyn Connector + 'a>>, DeployError> {
    let Some(offload) = &arm.offload else { return Ok(None) };
    known(arm, stack.vllm)?;
    let connector: Box<dyn Connector + 'a> = match offload.mechanism {
        Mechanism::Native => Box::new(Native::new(arm, offload, deployment, stack, disk)?),
        Mechanism::Lmcache | Mechanism::LmcacheServer => lmcache(arm, offload, deployment, stack)?,
    };
    Ok(Some(connector))
}

/// By the arm's mode, else by the installed release.
fn lmcache<'a>(
    arm: &Arm,
    offload: &'a OffloadConfig,
    deployment: &Deployment,
    stack: &Stack,
) -> Result<Box<dyn Connector + 'a>, DeployError> {
    let Some(version) = stack.lmcache else {
        return Err(refused(
            arm,
            format!("{} has no LMCache", stack.python.display()),
            "install `lmcache` beside vLLM, or use `native-offload`",
        ));
    };
    let has_server = lmcache_server::is_in(version);
    match arm.processes.lmcache_mode {
        Some(LmcacheMode::Server) if !has_server => Err(refused(
            arm,
            format!("LMCache {version} has no server"),
            "install 0.4 or later, or write `lmcache_mode: in-process`",
        )),
        Some(LmcacheMode::Server) => Ok(Box::new(LmcacheServer::new(offload, deployment))),
        None if has_server => Ok(Box::new(LmcacheServer::new(offload, deployment))),
        Some(LmcacheMode::InProcess) | None => {
            Ok(Box::new(LmcacheInProcess::new(offload, deployment)))
        }
    }
}

/// Whether requests carry a salt, which the keys of stored blocks then have. Where one arm has a
/// shared store, all arms carry it, to differ in nothing else.
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

/// Refuses a vLLM newer than those whose names were read.
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

#[cfg(test)]
mod tests;
