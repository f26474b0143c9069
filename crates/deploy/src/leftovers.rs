//! What a Weir that was killed left behind, found without its memory: processes by the marks in
//! their environments, shared memory and folders by their names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::error::DeployError;
use crate::process::owner::{self, Owner};
use crate::process::{ProcessError, end_all};

/// Where POSIX shared memory is.
const SHARED_MEMORY: &str = "/dev/shm";

/// A folder that goes with its owner.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    beside: Mutex<Vec<PathBuf>>,
    name: String,
}

impl Scratch {
    /// Makes the folder below the system's folder for temporary files.
    pub fn new(owner: &Owner) -> Result<Self, DeployError> {
        let name = owner.folder_name();
        let folder = made(&std::env::temp_dir(), &name)?;
        Ok(Self { folder, beside: Mutex::default(), name })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Another one, below a folder of the user's, that goes with it.
    pub fn beside(&self, parent: &Path) -> Result<PathBuf, DeployError> {
        let folder = made(parent, &self.name)?;
        // A later run looks below the temporary folder: leave a sign of where else to look.
        let sign = self.folder.join("beside");
        let failed = |source| DeployError::File {
            what: "the scratch folder",
            path: sign.display().to_string(),
            source,
        };
        fs::write(&sign, folder.as_os_str().as_encoded_bytes()).map_err(failed)?;
        self.beside.lock().unwrap_or_else(PoisonError::into_inner).push(folder.clone());
        Ok(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        for folder in beside.iter().chain([&self.folder]) {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// A fresh folder; what another cell of this process left there goes.
fn made(parent: &Path, name: &str) -> Result<PathBuf, DeployError> {
    let folder = parent.join(name);
    let failed = |source| DeployError::File {
        what: "a scratch folder",
        path: folder.display().to_string(),
        source,
    };
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(failed)?;
    }
    fs::create_dir_all(&folder).map_err(failed)?;
    Ok(folder)
}

/// The id of a run, by its folder: what is started for it carries the id.
pub fn run_id(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    format!("{:016x}", xxh3_64(whole.as_os_str().as_encoded_bytes()))
}

/// Whose remains are cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Those of processes that are gone.
    DeadOwners,
    /// Those of a run, by its id, whether its owner lives or not.
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

/// Ends and removes what is left, and says what it was, one phrase each.
pub fn clear(whose: &Whose, patience: Duration) -> Result<Vec<String>, DeployError> {
    let ours = std::process::id();
    let find = || -> Vec<u32> {
        let left = |pid: &u32| {
            *pid != ours && Owner::of_process(*pid).is_some_and(|owner| whose.has(&owner))
        };
        owner::all().into_iter().filter(left).collect()
    };
    let processes = find();
    let mut cleared: Vec<String> = processes.iter().map(|pid| words(*pid)).collect();
    let mapped: BTreeSet<PathBuf> = processes.iter().flat_map(|pid| shared_memory(*pid)).collect();
    end_all(find, patience).map_err(|pids| {
        DeployError::Process(ProcessError::Stays { name: "a run before".to_owned(), pids })
    })?;
    // What others map as well is theirs too.
    let held: BTreeSet<PathBuf> = owner::all().into_iter().flat_map(shared_memory).collect();
    for path in mapped.difference(&held).cloned().chain(named_memory(whose)) {
        if fs::remove_file(&path).is_ok() {
            cleared.push(path.display().to_string());
        }
    }
    for folder in folders(whose) {
        let beside = fs::read_to_string(folder.join("beside")).ok().map(PathBuf::from);
        let named = beside.filter(|path| path.file_name() == folder.file_name());
        for path in named.into_iter().chain([folder]) {
            if fs::remove_dir_all(&path).is_ok() {
                cleared.push(path.display().to_string());
            }
        }
    }
    Ok(cleared)
}

fn words(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    let short: String = line.trim().chars().take(60).collect();
    format!("process {pid} ({short})")
}

/// Files of shared memory that a process maps.
fn shared_memory(pid: u32) -> Vec<PathBuf> {
    let Ok(maps) = fs::read_to_string(format!("/proc/{pid}/maps")) else { return Vec::new() };
    let path = |line: &str| {
        let at = line.find(SHARED_MEMORY)?;
        let name = line[at..].trim_end();
        (!name.ends_with("(deleted)")).then(|| PathBuf::from(name))
    };
    maps.lines().filter_map(path).collect()
}

/// Shared memory that bears a run's name.
fn named_memory(whose: &Whose) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(SHARED_MEMORY) else { return Vec::new() };
    let ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(rest) = name.strip_prefix("weir-") else { return false };
        let mut parts = rest.splitn(3, '-');
        let (Some(run), Some(pid)) = (parts.next(), parts.next()) else { return false };
        match whose {
            Whose::Run(wanted) => run == wanted,
            // The start time is not in the name: a number that lives is left alone.
            Whose::DeadOwners => pid.parse().is_ok_and(|pid| owner::started(pid).is_none()),
        }
    };
    entries.flatten().map(|entry| entry.path()).filter(ours).collect()
}

/// Scratch folders.
fn folders(whose: &Whose) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return Vec::new() };
    let ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        Owner::of_folder(name).is_some_and(|owner| whose.has(&owner))
    };
    entries.flatten().map(|entry| entry.path()).filter(ours).collect()
}
