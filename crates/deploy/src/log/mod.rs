//! What logs of vLLM and LMCache say: facts of the start, and why something ended.

mod cause;
mod known;
mod line;
mod start_up;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

pub use cause::{Cause, cause};
pub use start_up::StartUp;

use line::{plain, shortened};

/// The last line that says something, without colours and shortened.
pub(crate) fn last_line(text: &str) -> String {
    let line = text.lines().rev().map(plain).find(|line| !line.trim().is_empty());
    line.map_or_else(|| "(nothing)".to_owned(), |line| shortened(&line))
}

/// A log from a place on; empty where it cannot be read.
pub(crate) fn since(log: &Path, begin: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(begin))?;
        file.read_to_end(&mut bytes)
    });
    read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
