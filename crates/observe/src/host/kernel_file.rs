//! A small kernel file, kept open and read from its beginning each time.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// `/proc/stat` of a machine with 500 CPUs has 60 KB, but its first line is enough.
const MAX_BYTES: usize = 4096;

#[derive(Debug)]
pub(super) struct KernelFile {
    file: Option<File>,
    buffer: Vec<u8>,
}

impl KernelFile {
    /// A missing file reads as None.
    pub(super) fn open(path: &Path) -> Self {
        Self { file: File::open(path).ok(), buffer: vec![0; MAX_BYTES] }
    }

    pub(super) const fn absent() -> Self {
        Self { file: None, buffer: Vec::new() }
    }

    /// One read. None when it fails (an ended process) or is no text.
    pub(super) fn read(&mut self) -> Option<&str> {
        let read = self.file.as_ref()?.read_at(&mut self.buffer, 0).ok()?;
        let bytes = &self.buffer[..read];
        match std::str::from_utf8(bytes) {
            Ok(text) => Some(text),
            // Cut inside a character, or a strange process name: keep the valid part.
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok(),
        }
    }
}

pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}
