//! What can go wrong while outputs are written.

use thiserror::Error;

use crate::results::ResultsError;

/// An output that could not be made.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The results do not fit their plan.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// A CSV file.
    #[error("{file} could not be written: {source}; this is a defect, please report it")]
    Csv {
        /// The file.
        file: &'static str,
        /// Cause.
        source: csv::Error,
    },
    /// A JSON file.
    #[error("{file} could not be written: {source}; this is a defect, please report it")]
    Json {
        /// The file.
        file: &'static str,
        /// Cause.
        source: serde_json::Error,
    },
    /// The HTML page.
    #[error("report.html could not be written: {source}; this is a defect, please report it")]
    Template {
        /// Cause.
        source: minijinja::Error,
    },
    /// A drawn chart.
    #[error("chart `{chart}` could not be drawn: {cause}; this is a defect, please report it")]
    Drawing {
        /// The chart.
        chart: String,
        /// Cause.
        cause: String,
    },
}
