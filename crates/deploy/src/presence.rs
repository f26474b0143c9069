//! Detection of other runs on one machine, which would disturb the measurement: each run has a
//! file in the temporary folder, which every user may list.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::DeployError;
use crate::process::Owner;

const PREFIX: &str = "weir-run-";

/// The file stands until this is dropped.
#[derive(Debug)]
pub struct Presence {
    file: PathBuf,
}

impl Presence {
    pub fn show(run: &str) -> Result<Self, DeployError> {
        Self::show_in(&std::env::temp_dir(), run)
    }

    fn show_in(folder: &Path, run: &str) -> Result<Self, DeployError> {
        let owner = Owner::this_process(run)?;
        clear_in(folder);
        let file = folder.join(format!("{PREFIX}{}", owner.words()));
        File::create(&file).map_err(|source| DeployError::File {
            what: "the file by which other runs see this one",
            path: file.display().to_string(),
            source,
        })?;
        Ok(Self { file })
    }
}

pub fn other_runs() -> BTreeSet<u32> {
    others_in(&std::env::temp_dir())
}

fn others_in(folder: &Path) -> BTreeSet<u32> {
    let others = named(folder).into_iter().map(|(_, owner)| owner);
    let here = std::process::id();
    others.filter(|owner| owner.pid != here && owner.is_alive()).map(|owner| owner.pid).collect()
}

impl Drop for Presence {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// Files of other users stay.
pub(crate) fn clear_dead() {
    clear_in(&std::env::temp_dir());
}

fn clear_in(folder: &Path) {
    for (path, owner) in named(folder) {
        if !owner.is_alive() {
            let _ = fs::remove_file(path);
        }
    }
}

fn named(folder: &Path) -> Vec<(PathBuf, Owner)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let of_run = |path: PathBuf| {
        let owner = Owner::of_words(path.file_name()?.to_str()?.strip_prefix(PREFIX)?)?;
        Some((path, owner))
    };
    entries.filter_map(|entry| of_run(entry.path())).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::process::table::ProcessEntry;

    #[test]
    fn runs_of_living_processes_see_each_other_and_the_dead_are_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let here = Presence::show_in(folder.path(), "a").unwrap();
        assert!(others_in(folder.path()).is_empty());
        let mut other =
            Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().expect("sleep is there");
        let started = ProcessEntry::of(other.id()).unwrap().started;
        let name = |pid: u32| format!("{PREFIX}b-{pid}-{started}");
        fs::write(folder.path().join(name(other.id())), "").unwrap();
        assert_eq!(others_in(folder.path()), BTreeSet::from([other.id()]));
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(others_in(folder.path()).is_empty());
        let again = Presence::show_in(folder.path(), "c").unwrap();
        assert!(!folder.path().join(name(other.id())).exists());
        drop((here, again));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
