//! The last failure in words: outcomes have only the class.

use std::path::PathBuf;

use parking_lot::Mutex;
use rustix::io::Errno;

use crate::tier::{Loaded, Stored, TierFault};

use super::place::remedy;

#[derive(Debug)]
pub(super) struct Trouble {
    path: PathBuf,
    last: Mutex<Option<String>>,
}

impl Trouble {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, last: Mutex::new(None) }
    }

    pub(super) fn last(&self) -> Option<String> {
        self.last.lock().clone()
    }

    pub(super) fn storing(&self, slot: u32, errno: Errno) -> Stored {
        self.note(slot, "storing", errno);
        match errno {
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Stored::Full,
            _ => Stored::Failed(TierFault::Io),
        }
    }

    pub(super) fn loading(&self, slot: u32, errno: Errno) -> Loaded {
        self.note(slot, "loading", errno);
        Loaded::Failed(TierFault::Io)
    }

    pub(super) fn corrupt(&self, slot: u32) {
        self.set(format!(
            "{}: slot {slot} does not hold what was stored: somebody else wrote to the file or cut \
             it, or the device is failing; the slot is free again",
            self.path.display()
        ));
    }

    pub(super) fn no_memory(&self) {
        self.set(format!(
            "{}: no memory for bounce buffers: give buffers of the tier's slab, or less depth",
            self.path.display()
        ));
    }

    fn note(&self, slot: u32, action: &str, errno: Errno) {
        let (path, remedy) = (self.path.display(), remedy(errno));
        self.set(format!("{path}: {action} slot {slot}: {errno}: {remedy}"));
    }

    fn set(&self, problem: String) {
        *self.last.lock() = Some(problem);
    }
}
