//! What running a cell, and all cells of a plan, leaves besides tables.

use weir_model::{
    AnswerFacts, CellFailure, Certificate, FactDifference, Note, RunningFacts, Signals,
};
use weir_record::ShortWindow;

/// What running a cell leaves, whatever the target.
#[derive(Debug, Default)]
pub struct CellOutcome {
    /// What was seen of the mechanism over the window.
    pub signals: Signals,
    /// Requests of a trace that were left out because they exceed the context.
    pub skipped: u64,
    /// Requests of a trace that were cut to fit it.
    pub truncated: u64,
    /// Why the rows say nothing, where the run itself shows it.
    pub failure: Option<CellFailure>,
    /// How the tokens of answers were counted; live targets.
    pub answers: Option<AnswerFacts>,
    /// What the load generator says of itself; live targets.
    pub certificate: Option<Certificate>,
    /// What could not be done or seen.
    pub notes: Vec<Note>,
    /// That the window is short against the requests in it, where it is.
    pub short_window: Option<ShortWindow>,
    /// A line of a start-up log that says that the mechanism will not act.
    pub startup_warning: Option<String>,
    /// What the running software said of itself before the load, and, where it did not then, after;
    /// live targets.
    pub facts: RunningFacts,
    /// What it said otherwise after the load.
    pub changed: Vec<FactDifference>,
}

/// What came of a sweep.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Cells that ran now.
    pub ran: usize,
    /// Cells that were complete before.
    pub kept: usize,
    /// Cells whose files were damaged and that ran again, with the reason.
    pub repaired: Vec<String>,
    /// True when it was stopped before its end.
    pub is_stopped: bool,
}
