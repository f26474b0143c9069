//! What can go wrong with a server of our own, with the remedy.

use std::io;
use std::path::PathBuf;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its program is not installed.
    #[error("{program} is not on PATH: {install}")]
    Absent {
        /// The program.
        program: &'static str,
        /// How to install it.
        install: &'static str,
    },
    /// The scratch folder cannot be written.
    #[error("{}: {error}: make the folder for temporary files writable", path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// There is no port on the loopback interface.
    #[error("no free port on 127.0.0.1: {0}")]
    Port(io::Error),
    /// It does not start.
    #[error("{program} cannot be started: {error}")]
    Start {
        /// The program.
        program: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// It ended before it answered.
    #[error("{program} ended at once ({status}); the end of its log: {log}")]
    Ended {
        /// The program.
        program: &'static str,
        /// How it ended.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// It does not answer.
    #[error("{program} does not answer: {why}; the end of its log: {log}")]
    NotReady {
        /// The program.
        program: &'static str,
        /// What the last question met.
        why: String,
        /// The end of its log.
        log: String,
    },
    /// A path server of our own cannot listen.
    #[error("cannot listen on {place}: {error}")]
    Listen {
        /// Where.
        place: String,
        /// What the system says.
        error: io::Error,
    },
}
