//! Why a cell of load could not be run at all. What goes wrong with a single request is a row.

use thiserror::Error;
use weir_workload::WorkloadError;

/// See the module.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Options that contradict themselves.
    #[error("{0}")]
    Config(String),
    /// An arrival process that does not exist.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// A host name without an address.
    #[error("cannot find an address of {endpoint}: {cause}; check the host name")]
    Resolve {
        /// Host and port.
        endpoint: String,
        /// What the resolver said.
        cause: String,
    },
    /// The hard limit of open files is below what the load needs.
    #[error(
        "{needed} open files are needed and at most {hard} are allowed: raise the limit \
         (`ulimit -Hn`, or `ulimit -n {needed}` as root) or ask with fewer streams"
    )]
    Descriptors {
        /// Descriptors that the load needs.
        needed: u64,
        /// The hard limit.
        hard: u64,
    },
    /// TLS cannot be set up.
    #[error("{0}")]
    Tls(String),
    /// A prompt cannot be made.
    #[error("the prompt of session {session}, turn {turn} cannot be made: {cause}")]
    Prompt {
        /// Session.
        session: u64,
        /// Turn.
        turn: u32,
        /// Why.
        cause: String,
    },
    /// A worker could not be set up.
    #[error("worker {worker} cannot {what}: {cause}")]
    Worker {
        /// Which, from 0.
        worker: usize,
        /// What it was about to do.
        what: String,
        /// What the system said.
        cause: String,
    },
    /// The rows could not be kept.
    #[error("the rows cannot be written: {0}")]
    Sink(String),
}
