//! What running a cell or a plan leaves besides tables.

use weir_model::{
    AnswerFacts, CellFailure, Certificate, FactDifference, Note, RunningFacts, Signals,
};
use weir_record::ShortWindow;

/// A replica of a live target, whether it answered or not.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaSeen {
    pub address: String,
    /// Requests that waited in it, mean over the window; None where its metrics were not read.
    pub mean_waiting: Option<f64>,
}

#[derive(Debug, Default)]
pub struct CellOutcome {
    pub signals: Signals,
    /// Requests of a trace that exceed the context.
    pub skipped: u64,
    /// Requests of a trace that were cut to fit the context.
    pub truncated: u64,
    /// Set where the run itself shows why the rows say nothing.
    pub failure: Option<CellFailure>,
    /// Live targets: by number.
    pub replicas: Vec<ReplicaSeen>,
    /// Live targets.
    pub answers: Option<AnswerFacts>,
    /// Live targets.
    pub certificate: Option<Certificate>,
    /// What could not be done or observed.
    pub notes: Vec<Note>,
    /// Set where the window is short for its requests.
    pub short_window: Option<ShortWindow>,
    /// A line of a start-up log that says that the mechanism will not act.
    pub startup_warning: Option<String>,
    /// From before the load, or else from after it; live targets.
    pub facts: RunningFacts,
    /// After the load.
    pub changed: Vec<FactDifference>,
}

#[derive(Debug, Default)]
pub struct Sweep {
    /// Cells that ran now.
    pub ran: usize,
    /// Cells that were complete before.
    pub kept: usize,
    /// Cells with damaged files that ran again, with the reason.
    pub repaired: Vec<String>,
    pub is_stopped: bool,
}
