//! What field and agent tell each other, as JSON over HTTP/1.1. The agent is the server, whoever
//! opened the connection.

use serde::{Deserialize, Serialize};
use weir_load::{LiveCounts, ShardReport};
use weir_workload::Shard;

use crate::group::GroupUse;

/// Changes where a message does.
pub(crate) const PROTOCOL: u32 = 1;
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Names the run that an agent works for.
pub(crate) const RUN_HEADER: &str = "X-Weir-Run";
/// Of a connection on which the agent answers.
pub(crate) const UPGRADE: &str = "weir-agent/1";

pub(crate) mod path {
    pub(crate) const AGENTS: &str = "/v1/agents";
    pub(crate) const HELLO: &str = "/v1/hello";
    pub(crate) const CLOCK: &str = "/v1/clock";
    pub(crate) const ORDER: &str = "/v1/order";
    pub(crate) const FILES: &str = "/v1/files/";
    pub(crate) const STATUS: &str = "/v1/status";
    pub(crate) const START: &str = "/v1/start";
    pub(crate) const LET_END: &str = "/v1/let-end";
    pub(crate) const ABORT: &str = "/v1/abort";
    pub(crate) const REPORT: &str = "/v1/report";
    pub(crate) const ROWS: &str = "/v1/rows";
    pub(crate) const RUN: &str = "/v1/run";
    pub(crate) const RUN_FILES: &str = "/v1/run/files";
    pub(crate) const RUN_FILE: &str = "/v1/run/files/";
    pub(crate) const LEAVE: &str = "/v1/leave";
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) version: String,
    pub(crate) protocol: u32,
    /// Differs between processes, and stays over connections.
    pub(crate) id: String,
    pub(crate) host: String,
    /// The shard that it should get (`JOB_COMPLETION_INDEX`).
    pub(crate) index: Option<u32>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ClockReading {
    pub(crate) monotonic_ns: u64,
}

/// Digests of files that the agent lacks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Lacking {
    pub(crate) files: Vec<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Start {
    /// Of the agent's clock.
    pub(crate) monotonic_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AgentState {
    Idle,
    Preparing,
    Ready,
    Running,
    Done,
    Failed,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AgentStatus {
    pub(crate) state: AgentState,
    /// Digest of the order under way.
    pub(crate) order: Option<String>,
    pub(crate) shard: Option<Shard>,
    pub(crate) counts: LiveCounts,
    /// Its measured requests have all ended.
    pub(crate) has_measured_all: bool,
    pub(crate) problem: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AgentReport {
    pub(crate) load: ShardReport,
    pub(crate) counts: LiveCounts,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// During the load.
    pub(crate) group: GroupUse,
}
