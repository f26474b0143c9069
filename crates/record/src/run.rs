//! The run folder: created once, resumed by one process at a time, read by any.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cell::CellRecord;
use crate::durable;
use crate::environment::{AnyHeader, Environment, RUN_FORMAT, RunHeader};
use crate::error::{RecordError, one_line};
use crate::lock::{FolderLock, LOCK_FILE};
use crate::name;
use crate::reader::{self, CellReader, CellState};
use crate::writer::CellWriter;

const EXPERIMENT: &str = "experiment.yaml";
const PLAN: &str = "plan.json";
const ENVIRONMENT: &str = "environment.json";
const CELLS: &str = "cells";
const ANALYSIS: &str = "analysis";
const REPORT: &str = "report";

#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    header: RunHeader,
    // None where the folder was opened for reading.
    lock: Option<Arc<FolderLock>>,
}

impl RunFolder {
    /// Starts a run in a new or empty folder and takes its lock. Keeps `experiment` as its file,
    /// and `plan` as JSON; `plan_hash` guards later resumes.
    ///
    /// `environment.json` comes last: its presence means that the folder is a run.
    pub fn create(
        path: &Path,
        experiment: &str,
        plan: &impl Serialize,
        plan_hash: &str,
        environment: &Environment,
    ) -> Result<Self, RecordError> {
        // Before the lock too, to leave no lock file in a foreign folder.
        refuse_content(path)?;
        let is_new = !path.exists();
        durable::create_folders(path)?;
        let lock = FolderLock::take(path)?;
        refuse_content(path)?;
        let started = Self::describe(path, experiment, plan, plan_hash, environment);
        let header = started.inspect_err(|_| take_back(path, is_new))?;
        Ok(Self { path: path.to_owned(), header, lock: Some(Arc::new(lock)) })
    }

    fn describe(
        path: &Path,
        experiment: &str,
        plan: &impl Serialize,
        plan_hash: &str,
        environment: &Environment,
    ) -> Result<RunHeader, RecordError> {
        let plan_path = path.join(PLAN);
        let mut plan_text = serde_json::to_vec_pretty(plan).map_err(|e| {
            RecordError::Unrecordable { path: plan_path.clone(), why: one_line(&e.to_string()) }
        })?;
        plan_text.push(b'\n');
        let header = RunHeader {
            format: RUN_FORMAT,
            weir: environment.weir.clone(),
            plan_hash: plan_hash.to_owned(),
            started: environment.started.clone(),
            host: environment.host.clone(),
        };
        let header_path = path.join(ENVIRONMENT);
        let header_text = durable::to_json(&header_path, &header)?;
        durable::write_whole(&path.join(EXPERIMENT), experiment.as_bytes())?;
        durable::write_whole(&plan_path, &plan_text)?;
        durable::write_whole(&header_path, &header_text)?;
        Ok(header)
    }

    /// Takes the lock. An error for a folder of another format or a changed plan.
    pub fn resume(path: &Path, plan_hash: &str) -> Result<Self, RecordError> {
        // Before the lock: a folder that is no run gets no lock file.
        read_header(path)?;
        let lock = FolderLock::take(path)?;
        let header = read_header(path)?;
        if header.plan_hash != plan_hash {
            return Err(RecordError::PlanChanged {
                path: path.to_owned(),
                recorded: header.plan_hash,
                given: plan_hash.to_owned(),
            });
        }
        for written_whole in [ANALYSIS, REPORT] {
            durable::remove_temporaries(&path.join(written_whole));
        }
        Ok(Self { path: path.to_owned(), header, lock: Some(Arc::new(lock)) })
    }

    /// Without the lock, possibly during the run. Cells cannot be begun; `analysis/` and `report/`
    /// can be written.
    pub fn open_read_only(path: &Path) -> Result<Self, RecordError> {
        let header = read_header(path)?;
        Ok(Self { path: path.to_owned(), header, lock: None })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn header(&self) -> &RunHeader {
        &self.header
    }

    pub fn plan_text(&self) -> Result<String, RecordError> {
        self.text(PLAN)
    }

    pub fn plan<T: DeserializeOwned>(&self) -> Result<T, RecordError> {
        serde_json::from_str(&self.plan_text()?).map_err(|e| RecordError::DamagedRun {
            path: self.path.join(PLAN),
            why: one_line(&e.to_string()),
        })
    }

    fn text(&self, name: &str) -> Result<String, RecordError> {
        let path = self.path.join(name);
        fs::read_to_string(&path).map_err(|e| RecordError::io("read", &path, e))
    }

    pub fn cell_folder(&self, cell: &str) -> Result<PathBuf, RecordError> {
        name::below(&self.path.join(CELLS), cell)
    }

    /// Empties the cell's folder, even of a complete cell: check [`RunFolder::completed`] first.
    pub fn begin_cell(&self, cell: &str) -> Result<CellWriter, RecordError> {
        let Some(lock) = &self.lock else {
            return Err(RecordError::ReadOnly { path: self.path.clone() });
        };
        CellWriter::begin(cell, self.cell_folder(cell)?, Arc::clone(lock))
    }

    /// Verifies it.
    pub fn open_cell(&self, cell: &str) -> Result<CellReader, RecordError> {
        CellReader::open(self, cell)
    }

    /// Verifies the files.
    pub fn cell_state(&self, cell: &str) -> Result<CellState, RecordError> {
        reader::state(self, cell)
    }

    /// The record of a complete cell, also with the status `Failed`: repeating it is the caller's
    /// choice. None where it has to run, for the reason in [`RunFolder::cell_state`].
    pub fn completed(&self, cell: &str) -> Result<Option<CellRecord>, RecordError> {
        Ok(match self.cell_state(cell)? {
            CellState::Complete(record) => Some(*record),
            CellState::Missing | CellState::Incomplete | CellState::Damaged(_) => None,
        })
    }

    /// Replaces `analysis/<name>` whole.
    pub fn write_analysis(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, RecordError> {
        self.write_output(ANALYSIS, name, bytes)
    }

    /// Replaces `report/<name>` whole.
    pub fn write_report(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, RecordError> {
        self.write_output(REPORT, name, bytes)
    }

    fn write_output(&self, folder: &str, name: &str, bytes: &[u8]) -> Result<PathBuf, RecordError> {
        let path = name::below(&self.path.join(folder), name)?;
        durable::write_whole(&path, bytes)?;
        Ok(path)
    }
}

/// Accepts no folder, or one with at most a lock file and temporary files of a killed start.
fn refuse_content(path: &Path) -> Result<(), RecordError> {
    let refused = |e| RecordError::io("list the folder", path, e);
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error)),
    };
    for entry in entries {
        let name = entry.map_err(refused)?.file_name();
        if name != LOCK_FILE && !durable::is_temporary(&name.to_string_lossy()) {
            return Err(RecordError::NotEmpty { path: path.to_owned() });
        }
    }
    Ok(())
}

/// Undoes a failed start, so that the same folder can be used again. The caller holds the lock,
/// and the folder was empty before.
fn take_back(path: &Path, is_new: bool) {
    // The first error is the one to report.
    for name in [EXPERIMENT, PLAN, ENVIRONMENT, LOCK_FILE] {
        let _ = fs::remove_file(path.join(name));
    }
    if is_new {
        // Fails, rightly, where the folder is not empty.
        let _ = fs::remove_dir(path);
    }
}

fn read_header(path: &Path) -> Result<RunHeader, RecordError> {
    let file = path.join(ENVIRONMENT);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(RecordError::NotARun { path: path.to_owned() });
        }
        Err(error) => return Err(RecordError::io("read", &file, error)),
    };
    let damaged = |why: serde_json::Error| RecordError::DamagedRun {
        path: file.clone(),
        why: one_line(&why.to_string()),
    };
    let any: AnyHeader = serde_json::from_slice(&text).map_err(damaged)?;
    if any.format != RUN_FORMAT {
        return Err(RecordError::WrongFormat {
            path: path.to_owned(),
            found: any.format,
            expected: RUN_FORMAT,
            weir: any.weir,
        });
    }
    serde_json::from_slice(&text).map_err(damaged)
}
