//! What can go wrong with a run folder, and whose fault it is.

use std::io;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use weir_model::{Attributed, ErrorCause};

/// An error of the run folder. Each message is one line: where, what failed, what to do.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error(
        "{}: the folder is not empty; pick another `--out`, or continue the run in it with \
         `--resume`",
        path.display()
    )]
    NotEmpty { path: PathBuf },
    #[error(
        "{}: no environment.json, so this is not the folder of a run; check the path, or start a \
         new run with `--out`",
        path.display()
    )]
    NotARun { path: PathBuf },
    #[error(
        "{}: the run has format {found} (written by Weir {weir}), this Weir reads format \
         {expected}; read it with a Weir of its time, or start a new run with another `--out`",
        path.display()
    )]
    WrongFormat { path: PathBuf, found: u32, expected: u32, weir: String },
    #[error(
        "{}: the plan has changed since this run was started (was {recorded}, is {given}); undo \
         the change, or start a new run with another `--out`",
        path.display()
    )]
    PlanChanged { path: PathBuf, recorded: String, given: String },
    #[error(
        "{}: {holder} is running in this folder; wait for it to end or stop it, or pick another \
         `--out`",
        path.display()
    )]
    Locked { path: PathBuf, holder: String },
    /// A file is not what was written, or cannot be read as what it should be.
    #[error("{}: damaged: {why}; the cell has to be run again (`--resume`)", path.display())]
    Damaged { path: PathBuf, why: String },
    /// One of the files that describe the run cannot be read as what it should be.
    #[error(
        "{}: damaged: {why}; restore the file, or start a new run with `--out`",
        path.display()
    )]
    DamagedRun { path: PathBuf, why: String },
    #[error("{}: the cell is not complete (no cell.json); run it with `--resume`", path.display())]
    Incomplete { path: PathBuf },
    #[error("{}: cannot {what}: {source}; {}", path.display(), remedy(source))]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("`{name}` cannot be a path inside a run folder: {why}; use plain names joined by `/`")]
    BadName { name: String, why: &'static str },
    #[error(
        "{}: the run was opened for reading; open it with `resume` to run cells",
        path.display()
    )]
    ReadOnly { path: PathBuf },
    /// A value that the file's format cannot hold (such as NaN in JSON), or a table that could not
    /// be encoded.
    #[error(
        "{}: cannot be recorded: {why}; this is a defect of Weir, please report it",
        path.display()
    )]
    Unrecordable { path: PathBuf, why: String },
}

impl Attributed for RecordError {
    fn fault(&self) -> ErrorCause {
        match self {
            Self::NotEmpty { .. }
            | Self::NotARun { .. }
            | Self::WrongFormat { .. }
            | Self::PlanChanged { .. }
            | Self::Incomplete { .. }
            | Self::Locked { .. } => ErrorCause::User,
            Self::Damaged { .. } | Self::DamagedRun { .. } => ErrorCause::Environment,
            Self::Io { source, .. } => match source.kind() {
                // The path itself is wrong: nothing of the machine is broken.
                io::ErrorKind::NotADirectory
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::InvalidFilename
                | io::ErrorKind::NotFound => ErrorCause::User,
                _ => ErrorCause::Environment,
            },
            Self::BadName { .. } | Self::ReadOnly { .. } | Self::Unrecordable { .. } => {
                ErrorCause::Defect
            }
        }
    }
}

impl RecordError {
    /// Names the column that a decoder stumbled over.
    pub(crate) fn in_column(self, name: &str) -> Self {
        match self {
            Self::Damaged { path, why } => {
                Self::Damaged { path, why: format!("column `{name}`: {why}") }
            }
            other => other,
        }
    }

    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { what, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, why: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.into() }
    }

    /// An error of the Parquet writer: the operating system's where it caused it.
    pub(crate) fn writing(path: &Path, error: ParquetError) -> Self {
        match error {
            ParquetError::External(cause) => match cause.downcast::<io::Error>() {
                Ok(source) => Self::io("write", path, *source),
                Err(cause) => {
                    Self::Unrecordable { path: path.to_owned(), why: one_line(&cause.to_string()) }
                }
            },
            other => {
                Self::Unrecordable { path: path.to_owned(), why: one_line(&other.to_string()) }
            }
        }
    }

    pub(crate) fn reading(path: &Path, error: ParquetError) -> Self {
        match error {
            ParquetError::External(cause) => match cause.downcast::<io::Error>() {
                Ok(source) => Self::io("read", path, *source),
                Err(cause) => Self::damaged(path, one_line(&cause.to_string())),
            },
            other => Self::damaged(path, one_line(&other.to_string())),
        }
    }
}

/// What to do about a refusal of the operating system.
fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free space there and run it again; `--resume` continues a run that had begun"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "make it accessible to this user, or pick another `--out`"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => {
            "pick another path: a part of this one is not a folder or not a valid name"
        }
        io::ErrorKind::NotFound => "check the path",
        _ => "check the disk and the path, then continue with `--resume`",
    }
}

/// Messages of other crates as one line.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
