//! Why a live cell could not be run.

use weir_deploy::DeployError;
use weir_load::LoadError;
use weir_observe::{KvEventError, SamplerError};
use weir_record::RecordError;
use weir_workload::WorkloadError;

use crate::journal::JournalError;

/// A live cell that has no result. What it wrote is incomplete, and a resumed run runs it again.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The arm does not stand.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The workload cannot be opened, or broke off.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The load could not be offered.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Nothing could be sampled.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// Engines' events cannot be heard.
    #[error(transparent)]
    KvEvents(#[from] KvEventError),
    /// What was done could not be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A row could not be kept.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Prompts cannot be made into text.
    #[error("client.tokenizer {path}: {problem}")]
    Tokenizer {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A server answers no more.
    #[error(
        "{requests} requests in flight, and no answer for {after} s; see the logs of the cell, \
             or raise client.request_timeout"
    )]
    Hang {
        /// Requests that wait.
        requests: u32,
        /// Seconds since anything came.
        after: u64,
    },
    /// Requests failed on processes of ours.
    #[error("{causes}; see the logs of the cell")]
    Requests {
        /// The commonest causes.
        causes: String,
    },
    /// What the protocol asks for was not so.
    #[error("{place}: {problem}; {remedy}")]
    Protocol {
        /// The endpoint.
        place: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
}

impl TrialError {
    /// True where only this cell is concerned: the next may run.
    pub const fn is_of_the_cell(&self) -> bool {
        match self {
            Self::Deploy(error) => !error.is_mistake(),
            Self::Protocol { .. } | Self::Hang { .. } | Self::Requests { .. } => true,
            _ => false,
        }
    }

    /// True where an arm's store is why: the cells of other arms may run, whatever the target.
    pub const fn is_of_the_store(&self) -> bool {
        matches!(self, Self::Deploy(DeployError::Store { .. }))
    }

    /// True where the user's own words are wrong, and not what they speak of.
    pub const fn is_mistake(&self) -> bool {
        match self {
            Self::Deploy(error) => error.is_mistake(),
            Self::Workload(_) | Self::Tokenizer { .. } | Self::Load(LoadError::Config(_)) => true,
            _ => false,
        }
    }
}
