//! Empties the caches of a local arm, and counts what is left.
//!
//! An answer is no evidence: vLLM answers `200` to a reset that it did not do, and an `LMCache`
//! server keeps what is in use.

use std::fmt;
use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Local;
use super::mechanism::lmcache_server;
use crate::emptied::{Emptied, EmptiedCount, Emptiness};
use crate::endpoint::Flush;
use crate::error::DeployError;
use crate::log;

/// For all tiers: transfers under way have to arrive first.
const PATIENCE: Duration = Duration::from_mins(1);
/// The file of vLLM's fs tier that is no chunk.
const SETTINGS: &str = "config.json";
const ASK_AGAIN: Duration = Duration::from_millis(100);

impl Local {
    /// Every count after emptying must be 0. vLLM's own cache cannot be counted.
    pub fn empty(&self, stopped: &dyn Fn() -> bool) -> Result<Vec<Emptied>, DeployError> {
        let patience = Patience { end: Instant::now() + PATIENCE, stopped };
        let mut seen = Vec::new();
        for replica in &self.replicas {
            patience.until(replica.endpoint.url(), "its prefix cache", || {
                Ok(u64::from(replica.endpoint.flush(true, stopped)? != Flush::Done))
            })?;
            let place = replica.process.name().to_owned();
            seen.push(Emptied { place, known: Emptiness::Answered, before: None });
        }
        if let Some((_, url)) = &self.lmcache {
            let before = lmcache_server::objects(url)?;
            patience.until(url, "objects of LMCache's first level", || {
                lmcache_server::clear(url)?;
                lmcache_server::objects(url)
            })?;
            seen.push(counted("LMCache's first level", EmptiedCount::Objects(0), Some(before)));
        }
        if let Some(folder) = &self.disk {
            let failed = |source| DeployError::File {
                what: "the folder of the disk tier",
                path: folder.display().to_string(),
                source,
            };
            let before = contents(folder).map_err(failed)?.files;
            patience.until(folder.display(), "the disk tier's files", || {
                each_chunk(folder, &mut |file| fs::remove_file(file.path())).map_err(failed)?;
                Ok(contents(folder).map_err(failed)?.files)
            })?;
            seen.push(counted("disk", EmptiedCount::Files(0), Some(before)));
        }
        if let Some(store) = &self.store {
            let before = store.counts(patience.end)?.keys;
            store.empty(patience.end)?;
            seen.push(counted(store.product(), EmptiedCount::Keys(0), before));
        }
        Ok(seen)
    }
}

/// Called once the count is 0.
fn counted(place: &str, count: EmptiedCount, before: Option<u64>) -> Emptied {
    Emptied { place: place.to_owned(), known: Emptiness::Counted(count), before }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contents {
    pub files: u64,
    pub bytes: u64,
}

impl Local {
    /// None without a disk tier, or where it cannot be read.
    pub fn disk_contents(&self) -> Option<Contents> {
        contents(self.disk()?).ok()
    }
}

impl Local {
    /// Refused batches of blocks of the farthest tier since the start, from the logs.
    pub fn refused_stores(&self) -> u64 {
        self.servers().map(|process| log::refused_stores(&process.said())).sum()
    }
}

fn contents(folder: &Path) -> io::Result<Contents> {
    let mut sum = Contents::default();
    each_chunk(folder, &mut |file| {
        sum.files += 1;
        // A file that was renamed or evicted meanwhile has no bytes.
        sum.bytes += file.metadata().map_or(0, |data| data.len());
        Ok(())
    })?;
    Ok(sum)
}

/// Visits chunk files below a folder. Folders stay: their writers may make them only once.
fn each_chunk(
    folder: &Path,
    of_file: &mut dyn FnMut(&DirEntry) -> io::Result<()>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            each_chunk(&entry.path(), of_file)?;
        } else if entry.file_name() != SETTINGS {
            of_file(&entry)?;
        }
    }
    Ok(())
}

struct Patience<'a> {
    end: Instant,
    stopped: &'a dyn Fn() -> bool,
}

impl Patience<'_> {
    /// Repeats until nothing is left.
    fn until(
        &self,
        place: impl fmt::Display,
        what: &str,
        mut left: impl FnMut() -> Result<u64, DeployError>,
    ) -> Result<(), DeployError> {
        loop {
            let count = left()?;
            if count == 0 {
                return Ok(());
            }
            if (self.stopped)() {
                return Err(DeployError::Interrupted);
            }
            if Instant::now() > self.end {
                return Err(DeployError::Answer {
                    url: place.to_string(),
                    problem: format!("{count} of {what} are left after it was emptied"),
                    remedy: "keep other clients away while a cell is measured".to_owned(),
                });
            }
            std::thread::sleep(ASK_AGAIN);
        }
    }
}
