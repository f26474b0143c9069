//! One cell while it runs: rows stream to its tables, `cell.json` comes last.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_model::{RequestRow, StepRow};

use crate::cell::{CellFigures, CellRecord, CellStatus, Evidence};
use crate::durable::{self, Digest};
use crate::error::RecordError;
use crate::lock::FolderLock;
use crate::reader;
use crate::requests::RequestTable;
use crate::series::{SeriesRow, SeriesTable};
use crate::steps::StepTable;
use crate::table::TableWriter;
use crate::tables::{CellTables, EVIDENCE, REQUESTS, SERIES, STEPS};

/// Its presence means that the cell is complete.
pub(crate) const CELL: &str = "cell.json";

/// Dropping it leaves the cell incomplete: it will run again.
pub struct CellWriter {
    open: OpenCell,
    requests: TableWriter<RequestTable>,
    steps: TableWriter<StepTable>,
    series: TableWriter<SeriesTable>,
}

/// Its tables are closed and can be read for its figures.
pub struct ClosedCell {
    open: OpenCell,
    tables: CellTables,
}

struct OpenCell {
    path: String,
    folder: PathBuf,
    // Checksums of files that this process wrote.
    written: BTreeMap<String, Digest>,
    // The run stays locked while one of its cells is written.
    _lock: Arc<FolderLock>,
}

impl OpenCell {
    fn write_evidence(&mut self, evidence: &Evidence) -> Result<(), RecordError> {
        let path = self.folder.join(EVIDENCE);
        let text = durable::to_json(&path, evidence)?;
        durable::write_whole(&path, &text)?;
        self.written.insert(EVIDENCE.to_owned(), durable::digest_of(&text));
        Ok(())
    }

    /// Files of others (logs) are read and made durable here.
    fn digests(mut self) -> Result<BTreeMap<String, Digest>, RecordError> {
        let mut files = BTreeMap::new();
        for (name, path) in durable::files_below(&self.folder)? {
            let digest = match self.written.remove(&name) {
                Some(digest) => digest,
                None => File::open(&path)
                    .and_then(|file| file.sync_data())
                    .and_then(|()| durable::digest_file(&path))
                    .map_err(|e| RecordError::io("read", &path, e))?,
            };
            files.insert(name, digest);
        }
        match self.written.into_keys().next() {
            Some(gone) => {
                let path = self.folder.join(gone);
                Err(RecordError::damaged(&path, "it was removed while the cell ran"))
            }
            None => Ok(files),
        }
    }
}

impl CellWriter {
    /// Empties the cell's folder, `cells/<path>` of the run.
    pub(crate) fn begin(
        path: &str,
        folder: PathBuf,
        lock: Arc<FolderLock>,
    ) -> Result<Self, RecordError> {
        remove_leftovers(&folder)?;
        durable::create_folders(&folder)?;
        Ok(Self {
            requests: TableWriter::new(folder.join(REQUESTS)),
            steps: TableWriter::new(folder.join(STEPS)),
            series: TableWriter::new(folder.join(SERIES)),
            open: OpenCell { path: path.to_owned(), folder, written: BTreeMap::new(), _lock: lock },
        })
    }

    /// Also for files of others (`logs/`); all files at the end are part of the record.
    pub fn folder(&self) -> &Path {
        &self.open.folder
    }

    #[inline]
    pub fn push_request(&mut self, row: &RequestRow) -> Result<(), RecordError> {
        self.requests.push(row)
    }

    #[inline]
    pub fn push_step(&mut self, row: &StepRow) -> Result<(), RecordError> {
        self.steps.push(row)
    }

    pub fn push_sample(&mut self, row: &SeriesRow) -> Result<(), RecordError> {
        self.series.push(row)
    }

    pub fn write_evidence(&mut self, evidence: &Evidence) -> Result<(), RecordError> {
        self.open.write_evidence(evidence)
    }

    /// `series.parquet` is written only with samples.
    pub fn close_tables(self) -> Result<ClosedCell, RecordError> {
        let Self { mut open, requests, steps, series } = self;
        open.written.insert(REQUESTS.to_owned(), requests.close()?);
        open.written.insert(STEPS.to_owned(), steps.close()?);
        if !series.is_empty() {
            open.written.insert(SERIES.to_owned(), series.close()?);
        }
        let tables = CellTables::new(open.folder.clone());
        Ok(ClosedCell { open, tables })
    }

    /// For callers that do not read rows back.
    pub fn finish(
        self,
        figures: CellFigures,
        status: CellStatus,
        attempts: u32,
    ) -> Result<CellRecord, RecordError> {
        self.close_tables()?.finish(figures, status, attempts)
    }
}

impl ClosedCell {
    pub fn tables(&self) -> &CellTables {
        &self.tables
    }

    pub fn write_evidence(&mut self, evidence: &Evidence) -> Result<(), RecordError> {
        self.open.write_evidence(evidence)
    }

    /// Writes `cell.json`: from here on the cell is complete.
    pub fn finish(
        self,
        figures: CellFigures,
        status: CellStatus,
        attempts: u32,
    ) -> Result<CellRecord, RecordError> {
        let folder = self.open.folder.clone();
        let path = self.open.path.clone();
        let files = self.open.digests()?;
        // The siblings' names must be durable before `cell.json`.
        durable::sync_folder(&folder)?;
        let record = CellRecord { path, status, figures, files, attempts };
        reader::write_record(&folder, &record)?;
        Ok(record)
    }
}

/// `cell.json` first: killed half-way, the cell is incomplete and not damaged.
fn remove_leftovers(folder: &Path) -> Result<(), RecordError> {
    let record = folder.join(CELL);
    match fs::remove_file(&record) {
        Ok(()) => durable::sync_folder(folder)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(RecordError::io("remove", &record, error)),
    }
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(RecordError::io("remove", folder, error)),
    }
}
