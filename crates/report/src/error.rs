//! Errors of writing outputs.

use thiserror::Error;
use weir_model::{Attributed, ErrorCause};

use crate::results::ResultsError;

#[derive(Debug, Error)]
pub enum ReportError {
    #[error(transparent)]
    Results(#[from] ResultsError),
    #[error("{file} could not be written: {source}; this is a defect, please report it")]
    Csv { file: &'static str, source: csv::Error },
    #[error("{file} could not be written: {source}; this is a defect, please report it")]
    Json { file: &'static str, source: serde_json::Error },
    #[error("report.html could not be written: {source}; this is a defect, please report it")]
    Template { source: minijinja::Error },
    #[error("chart `{chart}` could not be drawn: {cause}; this is a defect, please report it")]
    Drawing { chart: String, cause: String },
}

impl Attributed for ReportError {
    fn fault(&self) -> ErrorCause {
        ErrorCause::Defect
    }
}
