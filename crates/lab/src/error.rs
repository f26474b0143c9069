//! Why a plan cannot be made or run.

use std::path::PathBuf;

use weir_deploy::DeployError;
use weir_model::{Attributed, ErrorCause};
use weir_record::RecordError;
use weir_report::ReportError;
use weir_report::results::ResultsError;
use weir_sim::SimError;
use weir_spec::SpecError;
use weir_workload::WorkloadError;

use crate::live::LiveError;

/// Ends a run. Cells that were complete stay so.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The experiment file names a store that Weir cannot access.
    #[error("{}: {source}", path.display())]
    Store { path: PathBuf, source: Box<DeployError> },
    #[error(transparent)]
    Deploy(#[from] DeployError),
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    #[error(transparent)]
    Simulation(#[from] SimError<RecordError>),
    #[error("{replicas} replicas; at most 65,535 are supported")]
    Replicas { replicas: u32 },
    #[error(transparent)]
    Live(#[from] LiveError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Results(#[from] ResultsError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error("cell {path}: {source}")]
    Cell { path: String, source: Box<LabError> },
}

impl Attributed for LabError {
    fn fault(&self) -> ErrorCause {
        match self {
            Self::Spec(error) => error.fault(),
            Self::Workload(error) => error.fault(),
            Self::Replicas { .. } => ErrorCause::User,
            Self::Store { source, .. } => source.fault(),
            Self::Deploy(error) => error.fault(),
            Self::Live(error) => error.fault(),
            Self::Record(error) => error.fault(),
            Self::Report(error) => error.fault(),
            Self::Simulation(_) | Self::Results(_) => ErrorCause::Environment,
            Self::Cell { source, .. } => source.fault(),
        }
    }
}
