//! `trial.json`: what was done in a live cell besides asking, beside its tables.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_deploy::{Emptied, Started};
use weir_model::{Nanos, Note};

use crate::live::checks::Checks;

/// The file's name in a cell's folder.
const FILE: &str = "trial.json";

/// A journal that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}; the cell has to be run again", path.display())]
pub struct JournalError {
    path: PathBuf,
    problem: String,
}

/// What was done in a live cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// When the load began, Unix time: the rows' times count from here.
    pub started_unix_ns: u64,
    pub endpoints: Vec<String>,
    /// What makes the prompts of this run its own; nothing where it asks the same as others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<u64>,
    /// What is known of each cache at the start: counted, answered or unknown.
    pub caches: Vec<Emptied>,
    /// From when on the load was steady, since its start; nothing where it never was.
    #[serde(default)]
    pub steady_from: Option<Nanos>,
    /// What was started for the cell, with what it said of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Started>,
    /// What was compared to find out whether the cell shows its own arm.
    #[serde(default)]
    pub checks: Checks,
    /// What could not be done or seen.
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
