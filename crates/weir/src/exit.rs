//! Exit codes: what a caller can tell from them is part of the interface.

use std::error::Error;
use std::process::ExitCode;

use weir_deploy::DeployError;
use weir_deploy::checkpoint::CheckpointError;
use weir_deploy::setup::SetupError;
use weir_field::{AgentError, FieldError, OfferError};
use weir_lab::LabError;
use weir_model::{Attributed, ErrorCause};
use weir_probe::ProbeError;
use weir_proxy::ProxyError;
use weir_record::RecordError;
use weir_report::ReportError;
use weir_spec::SpecError;
use weir_spec::variables::VariableError;
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

impl Attributed for Mistake {
    fn fault(&self) -> ErrorCause {
        ErrorCause::User
    }
}

/// The cause of an error of one type.
fn cause_of<E: Attributed + Error + 'static>(error: &(dyn Error + 'static)) -> Option<ErrorCause> {
    error.downcast_ref::<E>().map(E::fault)
}

/// All errors that know who can mend them.
const CAUSES: [fn(&(dyn Error + 'static)) -> Option<ErrorCause>; 15] = [
    cause_of::<Mistake>,
    cause_of::<SpecError>,
    cause_of::<VariableError>,
    cause_of::<WorkloadError>,
    cause_of::<LabError>,
    cause_of::<AgentError>,
    cause_of::<FieldError>,
    cause_of::<OfferError>,
    cause_of::<RecordError>,
    cause_of::<ReportError>,
    cause_of::<DeployError>,
    cause_of::<SetupError>,
    cause_of::<CheckpointError>,
    cause_of::<ProbeError>,
    cause_of::<ProxyError>,
];

impl Exit {
    /// The exit of an error: that of the outermost cause that knows who can mend it.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        match error.chain().find_map(|cause| CAUSES.iter().find_map(|of| of(cause))) {
            Some(ErrorCause::User) => Self::User,
            Some(ErrorCause::Defect) => Self::Defect,
            Some(ErrorCause::Environment) | None => Self::Environment,
        }
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use anyhow::anyhow;
    use weir_lab::live::LiveError;

    use super::*;

    fn io_error(kind: io::ErrorKind) -> RecordError {
        RecordError::Io { what: "write", path: PathBuf::from("run"), source: kind.into() }
    }

    #[test]
    fn the_outermost_cause_that_knows_decides() {
        let mistake = anyhow!(Mistake("--users 0".to_owned())).context("load");
        assert_eq!(Exit::of(&mistake), Exit::User);
        let path = anyhow!(io_error(io::ErrorKind::NotFound));
        assert_eq!(Exit::of(&path), Exit::User);
        let disk = anyhow!(LabError::Record(io_error(io::ErrorKind::StorageFull)));
        assert_eq!(Exit::of(&disk), Exit::Environment);
        // What a live cell could not record is of the environment, whatever the path.
        let live = LiveError::Record(io_error(io::ErrorKind::NotFound));
        assert_eq!(Exit::of(&anyhow!(LabError::Live(live))), Exit::Environment);
        assert_eq!(Exit::of(&anyhow!("a pipe broke")), Exit::Environment);
    }
}
