use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("{program} is not on PATH: {install}")]
    Absent { program: &'static str, install: &'static str },
    #[error("{}: {error}: make the folder for temporary files writable", path.display())]
    Folder { path: PathBuf, error: io::Error },
    #[error("no free port on 127.0.0.1: {0}")]
    Port(io::Error),
    #[error("{program} cannot be started: {error}")]
    Start { program: &'static str, error: io::Error },
    #[error("{program} ended at once ({status}); the end of its log: {log}")]
    Ended { program: &'static str, status: String, log: String },
    #[error("{program} does not answer: {why}; the end of its log: {log}")]
    NotReady { program: &'static str, why: String, log: String },
    #[error("cannot listen on {place}: {error}")]
    Listen { place: String, error: io::Error },
}
