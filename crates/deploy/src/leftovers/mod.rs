//! Remains of a killed Weir, found without state: processes by marks in their environments, shared
//! memory and folders by names.

mod scratch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::geteuid;
use weir_store::held::{PREFIXES, beside, is_held};
use weir_store::server::FOLDER_PREFIX as STORE_PREFIX;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::DeployError;
use crate::presence;
use crate::process::memory::{self, SHARED_MEMORY};
use crate::process::owner::Owner;
use crate::process::table::ProcessEntry;
use crate::process::{self, ProcessError};

pub use scratch::Scratch;
pub use weir_store::held::remove_held;

/// Of a displayed command line.
const LINE: usize = 60;

/// From the run's folder; whatever a run starts carries it.
pub fn run_id(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    format!("{:016x}", xxh3_64(whole.as_os_str().as_encoded_bytes()))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    DeadOwners,
    /// Of a run by its id, whether its owner lives or not. Never use it for a run that goes on.
    Run(String),
}

impl Whose {
    fn has(&self, owner: &Owner) -> bool {
        match self {
            Self::DeadOwners => !owner.is_alive(),
            Self::Run(run) => owner.run == *run,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleared {
    /// None without a run's name.
    pub run: Option<String>,
    pub what: Remains,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remains {
    Process { pid: u32, line: String },
    SharedMemory(PathBuf),
    Folder(PathBuf),
}

impl fmt::Display for Cleared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Remains::Process { pid, line } => write!(f, "process {pid} ({line})")?,
            Remains::SharedMemory(path) => write!(f, "shared memory {}", path.display())?,
            Remains::Folder(path) => write!(f, "folder {}", path.display())?,
        }
        match &self.run {
            Some(run) => write!(f, " of run {run}"),
            None => write!(f, " of a process that is gone"),
        }
    }
}

/// Processes get a signal to end, and are killed after `grace`. Remains of other users and of
/// Weirs in other containers stay.
pub fn clear(whose: &Whose, grace: Duration) -> Result<Vec<Cleared>, DeployError> {
    let mut found = Found::default();
    let ended = process::end_all(|| found.look(whose), grace);
    ended.map_err(|pids| {
        let name = "a run that is gone".to_owned();
        DeployError::Process(ProcessError::Stays { name, pids })
    })?;
    presence::clear_dead();
    let mut cleared = found.processes;
    let named = named_memory(whose);
    let files: BTreeMap<PathBuf, String> = found.memory.into_iter().chain(named).collect();
    for path in memory::unmapped(files.keys().cloned().collect()) {
        if fs::remove_file(&path).is_ok() {
            let run = files.get(&path).cloned();
            cleared.push(Cleared { run, what: Remains::SharedMemory(path) });
        }
    }
    let temporary = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    let folders: BTreeSet<PathBuf> =
        temporary.map(|entry| entry.path()).chain(found.folders).collect();
    for folder in folders {
        remove_folder(&folder, whose, &mut cleared);
    }
    Ok(cleared)
}

/// Belongings of processes to end, collected while they live.
#[derive(Default)]
struct Found {
    processes: Vec<Cleared>,
    listed: Vec<ProcessEntry>,
    known: Vec<ProcessEntry>,
    memory: BTreeMap<PathBuf, String>,
    folders: BTreeSet<PathBuf>,
}

impl Found {
    fn look(&mut self, whose: &Whose) -> Vec<ProcessEntry> {
        let found = process::find(|marks| whose.has(&marks.owner));
        for (seen, marks) in &found {
            let run = &marks.owner.run;
            let mapped = memory::made_and_mapped(seen, &marks.owner);
            self.memory.extend(mapped.into_iter().map(|path| (path, run.clone())));
            if self.listed.contains(seen) {
                continue;
            }
            self.listed.push(seen.clone());
            self.folders.extend(seen.folder());
            let line = seen.line().chars().take(LINE).collect();
            let what = Remains::Process { pid: seen.pid, line };
            self.processes.push(Cleared { run: Some(run.clone()), what });
        }
        let found = found.into_iter().map(|(seen, _)| seen).collect();
        process::with_known(found, &mut self.known)
    }
}

/// Shared memory named after a run, with the run's id.
fn named_memory(whose: &Whose) -> BTreeMap<PathBuf, String> {
    let entries = fs::read_dir(SHARED_MEMORY).into_iter().flatten().flatten();
    let of_run = |path: PathBuf| {
        let (run, pid) = Owner::of_shared_memory(path.file_name()?.to_str()?)?;
        let wanted = match whose {
            Whose::Run(wanted) => run == wanted,
            // The name has no start time: a file of a live process id stays.
            Whose::DeadOwners => ProcessEntry::of(pid).is_none(),
        };
        let run = run.to_owned();
        (wanted && memory::is_ours(&path)).then_some((path, run))
    };
    entries.map(|entry| entry.path()).filter_map(of_run).collect()
}

fn remove_folder(folder: &Path, whose: &Whose, cleared: &mut Vec<Cleared>) {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !is_folder_of_ours(folder) {
        return;
    }
    if *whose == Whose::DeadOwners && is_unowned_scratch(folder, name) {
        remove_with_twin(folder, None, cleared);
        return;
    }
    let Some(owner) = Owner::of_folder(name).filter(|owner| whose.has(owner)) else { return };
    if *whose == Whose::DeadOwners && is_held(folder) == Some(true) {
        // Its owner lives, in a container with other process ids.
        return;
    }
    remove_with_twin(folder, Some(&owner.run), cleared);
}

/// The reference to the twin goes last.
fn remove_with_twin(folder: &Path, run: Option<&String>, cleared: &mut Vec<Cleared>) {
    let twin = beside(folder).filter(|path| is_folder_of_ours(path));
    for path in twin.into_iter().chain([folder.to_path_buf()]) {
        if fs::remove_dir_all(&path).is_ok() {
            cleared.push(Cleared { run: run.cloned(), what: Remains::Folder(path) });
        }
    }
}

/// A folder of a store, a disk tier or a probe whose lock nobody holds.
fn is_unowned_scratch(folder: &Path, name: &str) -> bool {
    let is_scratch = PREFIXES.iter().chain([&STORE_PREFIX]).any(|prefix| name.starts_with(prefix));
    is_scratch && is_held(folder) == Some(false)
}

fn is_folder_of_ours(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|of| of.is_dir() && of.uid() == geteuid().as_raw())
}
