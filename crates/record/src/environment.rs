//! `environment.json`: what wrote the run, where and when.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Version of the run folder's layout; a reader refuses another.
pub const RUN_FORMAT: u32 = 3;

/// Facts about the machine and the moment that the caller gathers: this crate has no clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// When the run was started, RFC 3339.
    pub started: String,
    pub weir: String,
    /// Facts of the host: kernel, CPU, memory, ...
    pub host: BTreeMap<String, String>,
}

/// The content of `environment.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunHeader {
    pub format: u32,
    /// Version of Weir that started the run.
    pub weir: String,
    /// Hash of the plan; guards `--resume`.
    pub plan_hash: String,
    /// When the run was started, RFC 3339.
    pub started: String,
    pub host: BTreeMap<String, String>,
}

/// The part of the header that every format has: read first, so that a folder of another format is
/// named as such and not as damaged.
#[derive(Debug, Deserialize)]
pub(crate) struct AnyHeader {
    pub(crate) format: u32,
    #[serde(default = "unknown")]
    pub(crate) weir: String,
}

fn unknown() -> String {
    "unknown".to_owned()
}
