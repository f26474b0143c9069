//! A small file of the kernel, kept open and read from its beginning each time.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The most bytes read: `/proc/stat` of a machine with 500 CPUs has 60 KB, and what is asked
/// of it stands in its first line.
const MAX_BYTES: usize = 4096;

#[derive(Debug)]
pub(super) struct KernelFile {
    file: Option<File>,
    buffer: Vec<u8>,
}

impl KernelFile {
    /// A file that is not there is one that gives nothing.
    pub(super) fn open(path: &Path) -> Self {
        Self { file: File::open(path).ok(), buffer: vec![0; MAX_BYTES] }
    }

    pub(super) const fn absent() -> Self {
        Self { file: None, buffer: Vec::new() }
    }

    /// What stands in it now, as far as one read brings it; nothing when it cannot be read (a
    /// process that ended) or is no text.
    pub(super) fn read(&mut self) -> Option<&str> {
        let read = self.file.as_ref()?.read_at(&mut self.buffer, 0).ok()?;
        let bytes = &self.buffer[..read];
        match std::str::from_utf8(bytes) {
            Ok(text) => Some(text),
            // Cut inside a character, or a process with a strange name: the good part.
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok(),
        }
    }
}

/// The number behind a key at the beginning of a line.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}
