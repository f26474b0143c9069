//! Errors of a whole cell of load. Errors of single requests are rows.

use thiserror::Error;
use weir_workload::WorkloadError;

#[derive(Debug, Error)]
pub enum LoadError {
    #[error("{0}")]
    Config(String),
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    #[error("cannot find an address of {endpoint}: {cause}; check the host name")]
    Resolve { endpoint: String, cause: String },
    #[error(
        "{needed} open files are needed and at most {hard} are allowed: raise the limit \
         (`ulimit -Hn`, or `ulimit -n {needed}` as root) or use fewer streams"
    )]
    Descriptors { needed: u64, hard: u64 },
    #[error("{0}")]
    Tls(String),
    #[error("the prompt of session {session}, turn {turn} cannot be made: {cause}")]
    Prompt { session: u64, turn: u32, cause: String },
    #[error("worker {worker} cannot {what}: {cause}")]
    Worker { worker: usize, what: String, cause: String },
    #[error("the rows cannot be written: {0}")]
    Sink(String),
}
