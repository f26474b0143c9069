//! Scratch folders whose owner may be killed: a locked file in them says whether it lives.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// The file that is locked.
const FILE: &str = "held";

/// Marks a folder as used until the file is closed, which the system does however its owner ends.
pub fn hold(folder: &Path) -> io::Result<File> {
    let file = File::create(folder.join(FILE))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Whether a living process holds a folder; nothing where it was never marked.
pub fn is_held(folder: &Path) -> Option<bool> {
    let file = File::open(folder.join(FILE)).ok()?;
    Some(flock(&file, FlockOperation::NonBlockingLockExclusive).is_err())
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
        drop(file);
        assert_eq!(is_held(folder.path()), Some(false));
    }
}
