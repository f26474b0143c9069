//! Scratch folders whose owner may be killed: a file lock in them shows whether it is alive.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

const FILE: &str = "held";

static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// Attempts to remove a folder into which another thread still writes.
const ATTEMPTS: u32 = 3;

#[derive(Debug)]
pub struct Held {
    folder: PathBuf,
    _file: File,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut folders = FOLDERS.lock();
        if let Some(place) = folders.iter().position(|folder| *folder == self.folder) {
            folders.swap_remove(place);
        }
    }
}

/// Marks a folder as used until the mark is dropped or the process ends.
pub fn hold(folder: &Path) -> io::Result<Held> {
    let file = File::create(folder.join(FILE))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    let folder = folder.to_owned();
    FOLDERS.lock().push(folder.clone());
    Ok(Held { folder, _file: file })
}

/// Removes all folders held by this process, for exits that run no destructors.
pub fn remove_held() {
    let folders = FOLDERS.lock().clone();
    for folder in folders {
        for _ in 0..ATTEMPTS {
            if fs::remove_dir_all(&folder).is_ok() || !folder.exists() {
                break;
            }
        }
    }
}

/// Whether a living process holds a folder; None if it was never marked.
pub fn is_held(folder: &Path) -> Option<bool> {
    let file = File::open(folder.join(FILE)).ok()?;
    Some(flock(&file, FlockOperation::NonBlockingLockExclusive).is_err())
}

/// Holds the path of another folder of the same name.
const BESIDE: &str = "beside";

pub const PREFIXES: [&str; 2] = [TIER, PROBE];
pub const TIER: &str = "weir-tier-";
pub const PROBE: &str = "weir-probe-";

/// Writes its twin's path into `near` before the twin is made, so that a search below the system's
/// temporary folder finds both.
pub fn point_to(near: &Path, twin: &Path) -> io::Result<()> {
    fs::write(near.join(BESIDE), twin.as_os_str().as_bytes())
}

/// The folder that [`point_to`] names, which has the same name.
pub fn beside(near: &Path) -> Option<PathBuf> {
    let path = PathBuf::from(OsStr::from_bytes(&fs::read(near.join(BESIDE)).ok()?));
    (path.is_absolute() && path.file_name() == near.file_name()).then_some(path)
}

/// Removed when dropped; it can be found after its owner was killed.
#[derive(Debug)]
pub struct HeldFolder {
    path: PathBuf,
    /// Locks on both folders.
    _held: Vec<Held>,
    /// Below the system's temporary folder: holds the path of `path`.
    _near: TempDir,
}

impl HeldFolder {
    /// `parent` must exist.
    pub fn below(parent: &Path, prefix: &str) -> io::Result<Self> {
        let near = tempfile::Builder::new().prefix(prefix).tempdir()?;
        let held = hold(near.path())?;
        let parent = std::path::absolute(parent)?;
        let path = parent.join(near.path().file_name().unwrap_or_default());
        if path == near.path() {
            return Ok(Self { path, _held: vec![held], _near: near });
        }
        point_to(near.path(), &path)?;
        DirBuilder::new().mode(0o700).create(&path)?;
        let twin = hold(&path)?;
        Ok(Self { path, _held: vec![held, twin], _near: near })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for HeldFolder {
    fn drop(&mut self) {
        // A remaining folder is found by the path file, which is removed last.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_as_long_as_its_file_is_open() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(is_held(folder.path()), None);
        let file = hold(folder.path()).unwrap();
        assert_eq!(is_held(folder.path()), Some(true));
        assert!(FOLDERS.lock().contains(&folder.path().to_owned()));
        drop(file);
        assert_eq!(is_held(folder.path()), Some(false));
        assert!(!FOLDERS.lock().contains(&folder.path().to_owned()));
    }

    #[test]
    fn a_held_folder_anywhere_is_pointed_to_and_goes_with_its_sign() {
        let parent = tempfile::tempdir().unwrap();
        let held = HeldFolder::below(parent.path(), TIER).unwrap();
        let near = std::env::temp_dir().join(held.path().file_name().unwrap());
        assert_eq!(held.path().parent(), Some(parent.path()));
        assert_eq!(beside(&near).as_deref(), Some(held.path()));
        assert_eq!((is_held(&near), is_held(held.path())), (Some(true), Some(true)));
        let path = held.path().to_owned();
        drop(held);
        assert!(!path.exists() && !near.exists());
        let own = HeldFolder::below(&std::env::temp_dir(), TIER).unwrap();
        assert_eq!((own.path().parent(), beside(own.path())), (Some(&*std::env::temp_dir()), None));
        assert!(HeldFolder::below(&parent.path().join("missing"), TIER).is_err());
    }
}
