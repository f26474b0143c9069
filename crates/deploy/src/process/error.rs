//! What can go wrong with a process.

use std::path::PathBuf;
use std::time::Duration;

use super::Ended;
use crate::log::Cause;

/// A process that does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// `/proc` cannot be read.
    #[error("/proc cannot be read, by which processes are known; mount it")]
    NoProc,
    /// It could not be started.
    #[error("{name}: {} cannot be started: {error}; check that it is installed", program.display())]
    Start {
        /// Which part of the arm.
        name: String,
        /// The program.
        program: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// Its log cannot be written.
    #[error("{name}: its log {} cannot be written: {error}; check the folder", log.display())]
    Log {
        /// Which part of the arm.
        name: String,
        /// The log.
        log: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// Its working directory is not there.
    #[error("{name}: its folder {} is not there; was it removed meanwhile?", folder.display())]
    Folder {
        /// Which part of the arm.
        name: String,
        /// The folder.
        folder: PathBuf,
    },
    /// A processor that it should use is not there.
    #[error(
        "{name}: processor {core} is not there, or not for this user; write others in \
             target.local.cores"
    )]
    Core {
        /// Which part of the arm.
        name: String,
        /// The processor.
        core: usize,
    },
    /// It ended.
    #[error("{name} ended {when} ({ended}): {}; log: {}",
            cause.as_ref().map_or_else(|| format!("its log ends: {last}"), ToString::to_string),
            log.display())]
    Ended {
        /// Which part of the arm.
        name: String,
        /// When.
        when: &'static str,
        /// How.
        ended: Ended,
        /// What its log says.
        cause: Option<Box<Cause>>,
        /// The last line of its log.
        last: String,
        /// Its log.
        log: PathBuf,
    },
    /// One of its own processes ended.
    #[error("{name} lost its process {part}: {cause}; log: {}", log.display())]
    Part {
        /// Which part of the arm.
        name: String,
        /// The process.
        part: String,
        /// What the log says.
        cause: String,
        /// Its log.
        log: PathBuf,
    },
    /// It is not ready in time.
    #[error("{name} is not ready after {} s; raise target.local.start_timeout, or see why in {}, \
             which ends: {last}", after.as_secs(), log.display())]
    NotReady {
        /// Which part of the arm.
        name: String,
        /// How long it was waited for.
        after: Duration,
        /// Its log.
        log: PathBuf,
        /// The last line of it.
        last: String,
    },
    /// It cannot be ended.
    #[error("{name} left processes that do not end: {pids:?}; end them by hand")]
    Stays {
        /// Which part of the arm.
        name: String,
        /// Their ids.
        pids: Vec<u32>,
    },
}

impl ProcessError {
    /// True where a port that was free had been taken meanwhile.
    pub fn is_port_taken(&self) -> bool {
        matches!(self, Self::Ended { cause: Some(cause), .. } if cause.is_port_taken())
    }
}
