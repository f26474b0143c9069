use serde::{Deserialize, Serialize};

use crate::local::StartedCommand;

/// What stood in front of the replicas of a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontRecord {
    /// `llm-d-inference-scheduler`, `weir`, ...
    pub router: String,
    /// Of picker and Envoy. Their configurations are in `logs/`.
    pub commands: Vec<StartedCommand>,
    /// Replicas as the response header names them.
    pub replicas: Vec<String>,
}
