//! Exit codes: what a caller can tell from them is part of the interface.

use std::process::ExitCode;

use weir_deploy::DeployError;
use weir_deploy::checkpoint::CheckpointError;
use weir_deploy::setup::SetupError;
use weir_lab::LabError;
use weir_probe::ProbeError;
use weir_record::{ErrorCause, RecordError};
use weir_report::ReportError;
use weir_spec::SpecError;
use weir_workload::WorkloadError;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, verdicts as the plan predicted.
    Done,
    /// Done, and some cell is not what was planned; or stopped before all cells had run.
    DoneWithFaults,
    User,
    Environment,
    Defect,
}

/// A mistake in what was asked, found by a command itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Mistake(pub(crate) String);

impl Exit {
    /// The exit of an error: that of the innermost cause that says.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        for cause in error.chain() {
            if cause.is::<SpecError>() || cause.is::<WorkloadError>() || cause.is::<Mistake>() {
                return Self::User;
            }
            let is_mistake = cause.downcast_ref().is_some_and(DeployError::is_mistake)
                || cause.downcast_ref().is_some_and(SetupError::is_mistake)
                || cause.downcast_ref().is_some_and(CheckpointError::is_mistake)
                || cause.downcast_ref().is_some_and(ProbeError::is_mistake);
            if is_mistake {
                return Self::User;
            }
            let record = cause.downcast_ref().map(RecordError::fault);
            if let Some(fault) = cause.downcast_ref().map(LabError::fault).or(record) {
                return match fault {
                    ErrorCause::User => Self::User,
                    ErrorCause::Environment => Self::Environment,
                    ErrorCause::Defect => Self::Defect,
                };
            }
            if cause.is::<ReportError>() {
                return Self::Defect;
            }
        }
        Self::Environment
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::DoneWithFaults => 1,
            Exit::User => 2,
            Exit::Environment => 3,
            Exit::Defect => 101,
        })
    }
}
