//! Why a live cell could not be run.

use weir_deploy::DeployError;
use weir_field::OfferError;
use weir_load::LoadError;
use weir_model::{Attributed, ErrorCause, ShardFailure};
use weir_observe::{KvEventError, SamplerError};
use weir_record::RecordError;
use weir_workload::WorkloadError;

use crate::live::journal::JournalError;

/// A live cell that has no result. What it wrote is incomplete, and a resumed run runs it again.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error(transparent)]
    Deploy(#[from] DeployError),
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Offer(#[from] OfferError),
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    #[error(transparent)]
    KvEvents(#[from] KvEventError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    EmulatedTokenizer(#[from] weir_serve::tokenizer::TokenizerError),
    #[error("client.tokenizer {path}: {problem}")]
    Tokenizer { path: String, problem: String },
    #[error(
        "{requests} requests in flight, and no answer for {after} s; see the logs of the cell, \
             or raise client.request_timeout"
    )]
    Hang { requests: u32, after: u64 },
    #[error("{causes}; see the logs of the cell")]
    Requests { causes: String },
    #[error("{place}: {problem}; {remedy}")]
    Protocol { place: String, problem: String, remedy: String },
}

impl LiveError {
    /// Set where a process that generated a part of the load is why: the next level may run.
    pub fn of_a_shard(&self) -> Option<&ShardFailure> {
        match self {
            Self::Offer(OfferError::Shard(failure)) => Some(failure),
            _ => None,
        }
    }

    /// True where only this cell is concerned: the next may run.
    pub fn is_of_the_cell(&self) -> bool {
        match self {
            Self::Deploy(error) => error.fault() != ErrorCause::User,
            Self::Protocol { .. } | Self::Hang { .. } | Self::Requests { .. } => true,
            _ => false,
        }
    }

    /// True where an arm's store is why: the cells of other arms may run, whatever the target.
    pub const fn is_of_the_store(&self) -> bool {
        matches!(self, Self::Deploy(DeployError::Store { .. }))
    }
}

impl Attributed for LiveError {
    fn fault(&self) -> ErrorCause {
        ErrorCause::mistake_if(match self {
            Self::Deploy(error) => error.fault() == ErrorCause::User,
            Self::Offer(error) => error.fault() == ErrorCause::User,
            Self::Workload(_) | Self::Tokenizer { .. } | Self::Load(LoadError::Config(_)) => true,
            _ => false,
        })
    }
}
