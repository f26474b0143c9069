//! What Weir installs or makes beside itself, in its cache folder.

mod child;
mod error;
mod stage;
#[cfg(test)]
mod tests;
mod vllm_cpu;

use std::path::PathBuf;

use crate::error::DeployError;

pub use error::SetupError;
pub use stage::{LMCACHE, Stage, VLLM_CPU};
pub use vllm_cpu::{InstallEvent, VllmCpu};

/// Where installations and generated checkpoints are: `WEIR_CACHE`, else `weir` in the user's cache
/// folder.
pub fn cache_folder() -> Result<PathBuf, DeployError> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = set("WEIR_CACHE");
    let xdg = || set("XDG_CACHE_HOME").map(|base| base.join("weir"));
    let home = || set("HOME").map(|home| home.join(".cache/weir"));
    own.or_else(xdg).or_else(home).ok_or_else(|| DeployError::Setting {
        key: "HOME".to_owned(),
        problem: "no cache folder is known; set WEIR_CACHE to a folder".to_owned(),
    })
}

/// Where `weir setup vllm-cpu` installs, unless it is told otherwise.
pub fn vllm_cpu_folder() -> Result<PathBuf, DeployError> {
    Ok(cache_folder()?.join(format!("vllm-cpu-{VLLM_CPU}")))
}

/// The interpreter of `weir setup vllm-cpu`, whether it is there or not.
pub fn vllm_cpu_python() -> Option<PathBuf> {
    Some(vllm_cpu_folder().ok()?.join("venv/bin/python"))
}
