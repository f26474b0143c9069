//! What the outside may ask of a field: how its run goes, and the files of the run.
//!
//! Files are known by their SHA-256, and fetched in parts, so that a broken transfer goes on where
//! it was. Cells that are not complete are not shown.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};

use crate::message::path;
use crate::order::digest_file;
use crate::wire::{ControlReply, ControlRequest};

/// Its presence means that the cell is complete (`weir-record`).
const CELL: &str = "cell.json";
const CELLS: &str = "cells";
/// Of the process, or of a file that is being written.
const LOCK: &str = "lock";
const TEMPORARY: &str = ".part-";

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunPhase {
    /// Agents are missing, or cells run.
    #[default]
    Running,
    Done,
    /// It ended before its last cell.
    Failed,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    pub phase: RunPhase,
    pub cells: usize,
    pub done: usize,
    /// Why it failed.
    pub problem: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunFile {
    /// Below the run folder, with slashes.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

#[derive(Debug, Default)]
struct Held {
    state: RunState,
    /// Of the last list, by digest.
    files: BTreeMap<String, PathBuf>,
    is_left: bool,
}

#[derive(Debug)]
pub struct Desk {
    folder: PathBuf,
    held: Mutex<Held>,
    changed: Condvar,
}

impl Desk {
    pub fn new(folder: &Path, cells: usize) -> Self {
        let state = RunState { cells, ..RunState::default() };
        let held = Mutex::new(Held { state, ..Held::default() });
        Self { folder: folder.to_owned(), held, changed: Condvar::new() }
    }

    /// Without a problem, all cells have ended.
    pub fn end(&self, problem: Option<String>) {
        let state = &mut self.held.lock().state;
        state.phase = if problem.is_none() { RunPhase::Done } else { RunPhase::Failed };
        state.problem = problem;
    }

    /// Until the files were fetched and the field is let go. False where that takes longer.
    pub fn wait_left(&self, patience: Duration, stopped: &dyn Fn() -> bool) -> bool {
        let until = Instant::now() + patience;
        let mut held = self.held.lock();
        while !held.is_left && !stopped() && Instant::now() < until {
            self.changed.wait_for(&mut held, Duration::from_millis(100));
        }
        held.is_left
    }

    pub(crate) fn answers(asked: &ControlRequest) -> bool {
        asked.target.starts_with(path::RUN) || asked.target == path::LEAVE
    }

    pub(crate) fn answer(&self, asked: &ControlRequest) -> io::Result<ControlReply> {
        match (asked.method.as_str(), asked.target.as_str()) {
            ("GET", path::RUN) => Ok(ControlReply::json(200, &self.state()?)),
            ("GET", path::RUN_FILES) => Ok(ControlReply::json(200, &self.list()?)),
            ("GET", target) if target.starts_with(path::RUN_FILE) => {
                self.part(&target[path::RUN_FILE.len()..], asked)
            }
            ("POST", path::LEAVE) => {
                self.held.lock().is_left = true;
                self.changed.notify_all();
                Ok(ControlReply::done())
            }
            _ => Ok(ControlReply::refusal(404, "a field does not know this request")),
        }
    }

    fn state(&self) -> io::Result<RunState> {
        let mut found = Vec::new();
        walk(&self.folder, &self.folder, &mut found)?;
        let done = found.iter().filter(|path| path.ends_with(CELL)).count();
        Ok(RunState { done, ..self.held.lock().state.clone() })
    }

    fn list(&self) -> io::Result<Vec<RunFile>> {
        let mut found = Vec::new();
        walk(&self.folder, &self.folder, &mut found)?;
        let mut files = Vec::new();
        let mut by_digest = BTreeMap::new();
        for path in found {
            let (bytes, sha256) = digest_file(&path)?;
            let below = path.strip_prefix(&self.folder).unwrap_or(&path);
            let path_text = below.to_string_lossy().into_owned();
            by_digest.insert(sha256.clone(), path);
            files.push(RunFile { path: path_text, bytes, sha256 });
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        self.held.lock().files = by_digest;
        Ok(files)
    }

    fn part(&self, digest: &str, asked: &ControlRequest) -> io::Result<ControlReply> {
        let file = self.held.lock().files.get(digest).cloned();
        let Some(file) = file else {
            return Ok(ControlReply::refusal(404, "no file of the last list has this SHA-256"));
        };
        let file = File::open(file)?;
        let size = file.metadata()?.len();
        Ok(match asked.range(size) {
            Some(range) => ControlReply::Part { file, size, range },
            None => ControlReply::refusal(416, "a range of the file is missing, or beyond it"),
        })
    }
}

/// Files, without cells that are not complete.
fn walk(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    entries.sort();
    let is_in_cells = folder.starts_with(root.join(CELLS));
    let has_files = entries.iter().any(|path| path.is_file());
    if is_in_cells && has_files && !folder.join(CELL).is_file() && !is_below_cell(root, folder) {
        return Ok(());
    }
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            walk(root, &path, found)?;
        } else if name != LOCK && !name.starts_with(TEMPORARY) && path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

/// A folder of logs of a complete cell.
fn is_below_cell(root: &Path, folder: &Path) -> bool {
    let above = folder.ancestors().skip(1).take_while(|above| above.starts_with(root));
    above.into_iter().any(|above| above.join(CELL).is_file())
}
