//! The tables of one cell, for figures and reports.

use std::io;
use std::path::{Path, PathBuf};

use weir_model::{RequestRow, StepRow};

use crate::cell::Evidence;
use crate::error::{RecordError, one_line};
use crate::requests::{RequestColumn, RequestTable};
use crate::series::{SeriesColumn, SeriesTable};
use crate::steps::{StepColumn, StepTable};
use crate::table::TableReader;

pub(crate) const REQUESTS: &str = "requests.parquet";
pub(crate) const STEPS: &str = "steps.parquet";
pub(crate) const SERIES: &str = "series.parquet";
pub(crate) const EVIDENCE: &str = "evidence.json";

/// Reads from the files each time; keeps nothing in memory.
#[derive(Debug, Clone)]
pub struct CellTables {
    folder: PathBuf,
}

impl CellTables {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn table(&self, name: &str) -> Result<TableReader, RecordError> {
        TableReader::open(self.folder.join(name))
    }

    /// In the order of pushing, a few thousand requests at a time: columns of lists are too large
    /// to hold at once. Other columns stay empty.
    pub fn request_groups(
        &self,
        chosen: &[RequestColumn],
    ) -> Result<impl Iterator<Item = Result<RequestTable, RecordError>> + use<>, RecordError> {
        Ok(self.table(REQUESTS)?.into_groups::<RequestTable>(chosen.to_vec()))
    }

    /// In the order of pushing, decoded a few thousand at a time.
    pub fn rows(
        &self,
    ) -> Result<impl Iterator<Item = Result<RequestRow, RecordError>> + use<>, RecordError> {
        Ok(self.table(REQUESTS)?.into_rows::<RequestTable>())
    }

    pub fn steps(&self) -> Result<StepTable, RecordError> {
        self.step_columns(StepColumn::ALL)
    }

    /// Other columns stay empty.
    pub fn step_columns(&self, chosen: &[StepColumn]) -> Result<StepTable, RecordError> {
        self.table(STEPS)?.columns(chosen)
    }

    /// In the order of pushing, decoded a few thousand at a time.
    pub fn step_rows(
        &self,
    ) -> Result<impl Iterator<Item = Result<StepRow, RecordError>> + use<>, RecordError> {
        Ok(self.table(STEPS)?.into_rows::<StepTable>())
    }

    /// Empty without samples.
    pub fn series(&self) -> Result<SeriesTable, RecordError> {
        match self.table(SERIES) {
            Ok(table) => table.columns(SeriesColumn::ALL),
            Err(RecordError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(SeriesTable::default())
            }
            Err(error) => Err(error),
        }
    }

    /// None where the cell failed before it had any.
    pub fn evidence(&self) -> Result<Option<Evidence>, RecordError> {
        let path = self.folder.join(EVIDENCE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(RecordError::io("read", &path, error)),
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|e| RecordError::damaged(&path, one_line(&e.to_string())))
    }
}
