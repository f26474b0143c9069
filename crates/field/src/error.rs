use std::path::PathBuf;

use thiserror::Error;
use weir_load::LoadError;
use weir_model::{Attributed, ErrorCause, ShardFailure};
use weir_record::RecordError;
use weir_workload::WorkloadError;

/// Why an agent cannot serve.
#[derive(Debug, Error)]
pub enum AgentError {
    #[error("the agent token must be one line of printable characters without spaces")]
    TokenForm,
    #[error("the agent token in {}: {problem}; check the path", path.display())]
    TokenFile { path: PathBuf, problem: String },
    #[error(
        "{address} can be reached from other machines, and an agent sends load to anybody: set \
         WEIR_AGENT_TOKEN or --token-file, or listen on 127.0.0.1"
    )]
    Open { address: String },
    #[error("cannot {what}: {problem}")]
    Io { what: String, problem: String },
    #[error("no field at {url} for {waited} s ({problem}); start it, or check the address")]
    NoField { url: String, waited: u64, problem: String },
    #[error("the field at {url} refuses this agent: {problem}")]
    RefusedByField { url: String, problem: String },
}

impl AgentError {
    pub(crate) fn io(what: impl Into<String>, error: &std::io::Error) -> Self {
        Self::Io { what: what.into(), problem: error.to_string() }
    }
}

impl Attributed for AgentError {
    fn fault(&self) -> ErrorCause {
        ErrorCause::mistake_if(matches!(
            self,
            Self::TokenForm | Self::TokenFile { .. } | Self::Open { .. }
        ))
    }
}

/// Why there are no agents to order from.
#[derive(Debug, Error)]
pub enum FieldError {
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("agent {agent}: {problem}")]
    Unreachable { agent: String, problem: String },
    #[error("agent {agent} refuses: {problem}")]
    Refused { agent: String, problem: String },
    #[error("agent {agent} is version {there}, and this is {here}; use one version")]
    Version { agent: String, here: String, there: String },
    #[error("{0}")]
    Address(String),
    #[error("only {came} of {expected} agents came within {waited} s")]
    Missing { came: usize, expected: usize, waited: u64 },
    #[error("{}: {problem}; check the folder and the disk", path.display())]
    File { path: PathBuf, problem: String },
    #[error("stopped while waiting")]
    Stopped,
}

impl Attributed for FieldError {
    fn fault(&self) -> ErrorCause {
        match self {
            Self::Agent(error) => error.fault(),
            Self::Address(_) => ErrorCause::User,
            _ => ErrorCause::Environment,
        }
    }
}

/// Why a level that agents generated has no rows.
#[derive(Debug, Error)]
pub enum OfferError {
    #[error(transparent)]
    Shard(#[from] ShardFailure),
    #[error("{0}")]
    Indivisible(String),
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("{}: {problem}; check the path", path.display())]
    File { path: PathBuf, problem: String },
    #[error("the load was stopped")]
    Stopped,
}

impl Attributed for OfferError {
    fn fault(&self) -> ErrorCause {
        ErrorCause::mistake_if(matches!(
            self,
            Self::Indivisible(_)
                | Self::Workload(_)
                | Self::File { .. }
                | Self::Load(LoadError::Config(_))
        ))
    }
}
