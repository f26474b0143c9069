//! One writer per run folder: an advisory lock that the kernel drops when its holder dies.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::RecordError;

/// Its text is the holder's process id, for people. The lock is the kernel's, so the file of a
/// dead process holds nothing.
pub(crate) const LOCK_FILE: &str = "lock";

#[derive(Debug)]
pub(crate) struct FolderLock {
    // Closing the file releases its lock.
    _file: File,
}

impl FolderLock {
    /// An error names the holder.
    pub(crate) fn take(folder: &Path) -> Result<Self, RecordError> {
        let path = folder.join(LOCK_FILE);
        let refused = |e| RecordError::io("lock", &path, e);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(refused)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(RecordError::Locked { path: folder.to_owned(), holder: holder(&path) });
            }
            Err(errno) => return Err(refused(io::Error::from(errno))),
        }
        // Until here the text was another process's.
        file.set_len(0).map_err(refused)?;
        writeln!(file, "{}", std::process::id()).map_err(refused)?;
        Ok(Self { _file: file })
    }
}

fn holder(path: &Path) -> String {
    match fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok()) {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}
