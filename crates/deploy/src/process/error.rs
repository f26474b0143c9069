use std::path::PathBuf;
use std::time::Duration;

use super::ProcessEnd;
use crate::log::Cause;

#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("/proc cannot be read, by which processes are known; mount it")]
    NoProc,
    #[error("{name}: {} cannot be started: {error}; check that it is installed", program.display())]
    Start { name: String, program: PathBuf, error: std::io::Error },
    #[error("{name}: its log {} cannot be written: {error}; check the folder", log.display())]
    Log { name: String, log: PathBuf, error: std::io::Error },
    #[error("{name}: its folder {} is not there; was it removed meanwhile?", folder.display())]
    Folder { name: String, folder: PathBuf },
    #[error(
        "{name}: CPU {core} does not exist, or this user may not use it; write others in \
             target.local.cores"
    )]
    Core { name: String, core: usize },
    #[error("{name} ended {when} ({ended}): {}; log: {}",
            cause.as_ref().map_or_else(|| format!("its log ends: {last}"), ToString::to_string),
            log.display())]
    Ended {
        name: String,
        when: &'static str,
        ended: ProcessEnd,
        cause: Option<Box<Cause>>,
        last: String,
        log: PathBuf,
    },
    #[error("{name} lost its process {part}: {cause}; log: {}", log.display())]
    Part { name: String, part: String, cause: String, log: PathBuf },
    #[error("{name} is not ready after {} s; raise target.local.start_timeout, or see why in {}, \
             which ends: {last}", after.as_secs(), log.display())]
    NotReady { name: String, after: Duration, log: PathBuf, last: String },
    #[error("{name} left processes that do not end: {pids:?}; end them by hand")]
    Stays { name: String, pids: Vec<u32> },
}

impl ProcessError {
    /// Another program took a port that was free.
    pub fn is_port_taken(&self) -> bool {
        matches!(self, Self::Ended { cause: Some(cause), .. } if cause.is_port_taken())
    }
}
