//! Shared memory that processes map, which a killed process leaves.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::process::geteuid;
use rustix::time::{ClockId, clock_gettime};

use super::owner::Owner;
use super::table::{self, ProcessEntry};

pub(crate) const SHARED_MEMORY: &str = "/dev/shm";

/// Files mapped by a process and made since its owner's start. Older files are the user's, such as
/// weights kept in memory.
pub(crate) fn made_and_mapped(seen: &ProcessEntry, owner: &Owner) -> BTreeSet<PathBuf> {
    let Some(start) = time_of(owner.started) else { return BTreeSet::new() };
    mapped(seen.pid).into_iter().filter(|path| is_ours(path) && is_since(path, start)).collect()
}

/// A file of this user, directly below the folder of shared memory.
pub(crate) fn is_ours(path: &Path) -> bool {
    path.parent() == Some(Path::new(SHARED_MEMORY))
        && fs::symlink_metadata(path).is_ok_and(|of| of.is_file() && of.uid() == geteuid().as_raw())
}

pub(crate) fn unmapped(files: BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    if files.is_empty() {
        return files;
    }
    let held: BTreeSet<PathBuf> = table::numbers().into_iter().flat_map(mapped).collect();
    files.difference(&held).cloned().collect()
}

fn mapped(pid: u32) -> BTreeSet<PathBuf> {
    let Ok(maps) = fs::read(format!("/proc/{pid}/maps")) else { return BTreeSet::new() };
    let path = |line: &str| {
        let name = &line[line.find(SHARED_MEMORY)?..];
        (!name.ends_with(" (deleted)")).then(|| PathBuf::from(name))
    };
    String::from_utf8_lossy(&maps).lines().filter_map(path).collect()
}

fn is_since(path: &Path, start: SystemTime) -> bool {
    let Ok(of) = fs::symlink_metadata(path) else { return false };
    // A file system without birth times has at least the last change.
    of.created().or_else(|_| of.modified()).is_ok_and(|born| born >= start)
}

/// From clock ticks since boot.
fn time_of(ticks: u64) -> Option<SystemTime> {
    let up = clock_gettime(ClockId::Boottime);
    let up = Duration::new(u64::try_from(up.tv_sec).ok()?, u32::try_from(up.tv_nsec).ok()?);
    let per_second = rustix::param::clock_ticks_per_second();
    let start = Duration::from_secs_f64(ticks as f64 / per_second as f64);
    // A tick later: in its first one it made nothing, and other processes may have.
    let start = start + Duration::from_secs_f64(1.0 / per_second as f64);
    SystemTime::now().checked_sub(up.saturating_sub(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_started_a_moment_ago() {
        let seen = ProcessEntry::of(std::process::id()).unwrap();
        let age = time_of(seen.started).unwrap().elapsed().unwrap();
        assert!(age < Duration::from_mins(10), "{age:?}");
    }

    #[test]
    fn only_plain_files_directly_below_the_folder_are_ours() {
        assert!(!is_ours(Path::new("/dev/shm")));
        assert!(!is_ours(Path::new("/dev/shm/no-such-file-of-weir")));
        assert!(!is_ours(Path::new("/etc/hostname")));
    }
}
