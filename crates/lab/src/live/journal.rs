//! `trial.json`: what a live cell did besides its load.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_deploy::front::FrontRecord;
use weir_deploy::{Emptied, Started};
use weir_field::ShardRecord;
use weir_model::{Nanos, Note};

use crate::live::checks::Checks;

/// In a cell's folder.
const FILE: &str = "trial.json";

#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}; the cell has to be run again", path.display())]
pub struct JournalError {
    path: PathBuf,
    problem: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// Start of the load, Unix time: the rows' times count from it.
    pub started_unix_ns: u64,
    pub endpoints: Vec<String>,
    /// Makes the prompts of this run unique. None where they repeat those of other runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<u64>,
    pub caches: Vec<Emptied>,
    /// Since the start of the load; None where it was never steady.
    #[serde(default)]
    pub steady_from: Option<Nanos>,
    /// The processes that generated the load. Empty where it was this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<ShardRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Started>,
    /// The router in front of the replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub front: Option<FrontRecord>,
    #[serde(default)]
    pub checks: Checks,
    /// What could not be done or observed.
    pub notes: Vec<Note>,
}

impl Journal {
    pub(crate) fn write(&self, folder: &Path) -> Result<(), JournalError> {
        let path = folder.join(FILE);
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| JournalError { path: path.clone(), problem: error.to_string() })?;
        fs::write(&path, text + "\n")
            .map_err(|error| JournalError { path, problem: error.to_string() })
    }

    pub fn read(folder: &Path) -> Result<Self, JournalError> {
        let path = folder.join(FILE);
        let failed = |problem| JournalError { path: path.clone(), problem };
        let text = fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| failed(error.to_string()))
    }
}
