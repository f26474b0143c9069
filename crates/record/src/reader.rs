use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use weir_model::RequestRow;

use crate::cell::{CellRecord, Evidence};
use crate::durable;
use crate::error::{RecordError, one_line};
use crate::run::RunFolder;
use crate::series::SeriesTable;
use crate::steps::StepTable;
use crate::tables::{CellTables, REQUESTS, STEPS};
use crate::writer::CELL;

/// Of a cell of the plan in this run folder.
#[derive(Debug, Clone, PartialEq)]
pub enum CellState {
    Missing,
    /// Begun, but not completed.
    Incomplete,
    /// The files changed after completion; the reason. The cell has to run again.
    Damaged(String),
    Complete(Box<CellRecord>),
}

#[derive(Debug, Clone)]
pub struct CellReader {
    record: CellRecord,
    tables: CellTables,
}

impl CellReader {
    /// Opens `cells/<path>` of a run and verifies sizes and checksums of all its files.
    ///
    /// # Errors
    /// [`RecordError::Incomplete`] without `cell.json`; [`RecordError::Damaged`] where a file
    /// changed.
    pub fn open(run: &RunFolder, path: &str) -> Result<Self, RecordError> {
        let folder = run.cell_folder(path)?;
        let record = read_record(&folder)?;
        if record.path != path {
            let why = format!("it is the record of `{}`", record.path);
            return Err(RecordError::damaged(&folder.join(CELL), why));
        }
        verify(&folder, &record)?;
        Ok(Self { record, tables: CellTables::new(folder) })
    }

    pub fn record(&self) -> &CellRecord {
        &self.record
    }

    pub fn tables(&self) -> &CellTables {
        &self.tables
    }

    /// See [`CellTables::rows`].
    pub fn rows(
        &self,
    ) -> Result<impl Iterator<Item = Result<RequestRow, RecordError>> + use<>, RecordError> {
        self.tables.rows()
    }

    pub fn steps(&self) -> Result<StepTable, RecordError> {
        self.tables.steps()
    }

    pub fn series(&self) -> Result<SeriesTable, RecordError> {
        self.tables.series()
    }

    /// See [`CellTables::evidence`].
    pub fn evidence(&self) -> Result<Option<Evidence>, RecordError> {
        self.tables.evidence()
    }
}

/// An error only where the operating system refused.
pub(crate) fn state(run: &RunFolder, path: &str) -> Result<CellState, RecordError> {
    match CellReader::open(run, path) {
        Ok(cell) => Ok(CellState::Complete(Box::new(cell.record))),
        Err(RecordError::Incomplete { path }) => {
            Ok(if path.exists() { CellState::Incomplete } else { CellState::Missing })
        }
        Err(RecordError::Damaged { path, why }) => {
            Ok(CellState::Damaged(format!("{}: {why}", path.display())))
        }
        Err(other) => Err(other),
    }
}

/// Over the record's compact JSON without an entry for `cell.json` itself.
fn own_digest(path: &Path, record: &CellRecord) -> Result<durable::Digest, RecordError> {
    let text = serde_json::to_vec(record).map_err(|e| RecordError::Unrecordable {
        path: path.to_owned(),
        why: one_line(&e.to_string()),
    })?;
    Ok(durable::digest_of(&text))
}

/// `files` gets an entry for `cell.json` itself, so that a changed figure is found.
pub(crate) fn write_record(folder: &Path, record: &CellRecord) -> Result<(), RecordError> {
    let path = folder.join(CELL);
    let mut signed = record.clone();
    signed.files.insert(CELL.to_owned(), own_digest(&path, record)?);
    let text = durable::to_json(&path, &signed)?;
    durable::write_whole(&path, &text)
}

fn read_record(folder: &Path) -> Result<CellRecord, RecordError> {
    let path = folder.join(CELL);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(RecordError::Incomplete { path: folder.to_owned() });
        }
        Err(error) => return Err(RecordError::io("read", &path, error)),
    };
    let mut record: CellRecord = serde_json::from_slice(&text)
        .map_err(|e| RecordError::damaged(&path, one_line(&e.to_string())))?;
    let Some(claimed) = record.files.remove(CELL) else {
        return Err(RecordError::damaged(&path, "it has no checksum of its own"));
    };
    if own_digest(&path, &record)? != claimed {
        return Err(RecordError::damaged(&path, "its content has changed since it was written"));
    }
    Ok(record)
}

fn verify(folder: &Path, record: &CellRecord) -> Result<(), RecordError> {
    for required in [REQUESTS, STEPS] {
        if !record.files.contains_key(required) {
            let why = format!("it lists no {required}");
            return Err(RecordError::damaged(&folder.join(CELL), why));
        }
    }
    for (name, recorded) in &record.files {
        let path: PathBuf = crate::name::below(folder, name)
            .map_err(|_| RecordError::damaged(&folder.join(CELL), format!("lists `{name}`")))?;
        verify_file(&path, recorded)?;
    }
    Ok(())
}

fn verify_file(path: &Path, recorded: &durable::Digest) -> Result<(), RecordError> {
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => RecordError::damaged(path, "the file is gone"),
        _ => RecordError::io("read", path, error),
    };
    // Sizes first: truncated files are the usual damage, and a size is cheap.
    let size = fs::metadata(path).map_err(refused)?.len();
    if size != recorded.0 {
        let why = format!("{size} bytes, {} were written", recorded.0);
        return Err(RecordError::damaged(path, why));
    }
    if durable::digest_file(path).map_err(refused)? != *recorded {
        return Err(RecordError::damaged(path, "the bytes are not the ones that were written"));
    }
    Ok(())
}
