//! Installations and generated files in Weir's cache folder.

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

/// `WEIR_CACHE`, else `weir` in the user's cache folder.
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

/// Default of `weir setup vllm-cpu`.
pub fn vllm_cpu_folder() -> Result<PathBuf, DeployError> {
    Ok(cache_folder()?.join(format!("vllm-cpu-{VLLM_CPU}")))
}

/// May not exist.
pub fn vllm_cpu_python() -> Option<PathBuf> {
    Some(vllm_cpu_folder().ok()?.join("venv/bin/python"))
}
