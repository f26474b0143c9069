//! `environment.json`: software, host and start of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Version of the run folder's layout; a reader refuses another.
pub const RUN_FORMAT: u32 = 4;

/// From the caller: this crate has no clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// RFC 3339.
    pub started: String,
    pub weir: String,
    /// Kernel, CPU, memory, ...
    pub host: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunHeader {
    pub format: u32,
    pub weir: String,
    /// Guards `--resume`.
    pub plan_hash: String,
    /// RFC 3339.
    pub started: String,
    pub host: BTreeMap<String, String>,
}

/// In every format. Read first, so that a folder of another format is not reported as damaged.
#[derive(Debug, Deserialize)]
pub(crate) struct AnyHeader {
    pub(crate) format: u32,
    #[serde(default = "unknown")]
    pub(crate) weir: String,
}

fn unknown() -> String {
    "unknown".to_owned()
}
