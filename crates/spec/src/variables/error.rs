use std::fmt;
use std::path::PathBuf;

use weir_model::{Attributed, ErrorCause};

use super::shell::ShellProblem;
use crate::error::SpecError;

/// Where a value was set: `FILE:LINE: NAME`, or `environment: NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariablePlace {
    /// None for the environment.
    pub file: Option<String>,
    /// From 1; None for an era's default.
    pub line: Option<usize>,
    /// None for a line that sets none.
    pub name: Option<String>,
}

impl fmt::Display for VariablePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}")?,
            (Some(file), None) => f.write_str(file)?,
            (None, _) => f.write_str("environment")?,
        }
        self.name.as_ref().map_or(Ok(()), |name| write!(f, ": {name}"))
    }
}

/// Variables that become no experiment.
#[derive(Debug, thiserror::Error)]
pub enum VariableError {
    #[error("cannot read {what} {}: {source}; check the path", path.display())]
    Read { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{place}: {problem}")]
    Shell { place: Box<VariablePlace>, problem: ShellProblem },
    #[error("{file}: more than {limit} bytes; write a scenario file, not its data")]
    TooLong { file: String, limit: usize },
    #[error("{place}: {problem}; {remedy}{}", others(*.more))]
    Refused {
        place: Box<VariablePlace>,
        problem: String,
        remedy: String,
        /// Other variables that were refused.
        more: usize,
    },
    #[error(transparent)]
    Profile(#[from] SpecError),
}

fn others(more: usize) -> String {
    match more {
        0 => String::new(),
        1 => " (and 1 other variable)".to_owned(),
        many => format!(" (and {many} other variables)"),
    }
}

impl Attributed for VariableError {
    fn fault(&self) -> ErrorCause {
        ErrorCause::User
    }
}
