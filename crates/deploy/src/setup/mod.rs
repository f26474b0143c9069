//! Installations and generated files in Weir's cache folder.

mod child;
mod error;
mod installation;
mod router;
mod stage;
#[cfg(test)]
mod tests;
mod tool;
mod vllm_cpu;

use std::path::PathBuf;

use crate::error::DeployError;

pub use error::SetupError;
pub use installation::{InstallEvent, Installation};
pub use router::{RouterPart, RouterParts, router_folder};
pub use stage::{Stage, StageCommand};
pub use vllm_cpu::{vllm_cpu_folder, vllm_cpu_python};

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
