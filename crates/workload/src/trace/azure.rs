//! The Azure LLM inference trace of 2023: CSV with `TIMESTAMP`, `ContextTokens` and
//! `GeneratedTokens`.
//!
//! It has no prefix information, so every prompt is content of its own: a workload for load and
//! lengths, not for caches.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use csv::StringRecord;
use jiff::civil::DateTime;
use weir_model::{ContentId, Piece, Prompt};

use super::TraceRecord;
use super::bytes::{self, Text};
use super::dialect::Dialect;
use crate::config::{MAX_REQUEST_TOKENS, TraceFormat};
use crate::error::WorkloadError;

const COLUMNS: [&str; 3] = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"];

/// Arbitrary; only differences matter.
const EPOCH: DateTime = DateTime::constant(2000, 1, 1, 0, 0, 0, 0);

const REMEDY: &str = "get an Azure 2023 trace, for example AzureLLMInferenceTrace_conv.csv in \
    data of https://github.com/Azure/AzurePublicDataset, and point to it with \
    `--set workload.trace.path=FILE`";

#[derive(Debug)]
pub struct AzureReader {
    path: PathBuf,
    csv: csv::Reader<Text>,
    seed: u64,
    record: StringRecord,
}

impl AzureReader {
    /// The seed names prompts and answers.
    pub fn open(path: &Path, seed: u64) -> Result<Self, WorkloadError> {
        let text = bytes::open(path, REMEDY)?;
        let csv = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
        let mut reader = Self { path: path.to_owned(), csv, seed, record: StringRecord::new() };
        reader.check_header()?;
        Ok(reader)
    }

    /// An empty file has no header and no requests.
    fn check_header(&mut self) -> Result<(), WorkloadError> {
        let header = match self.csv.headers() {
            Ok(header) => header.clone(),
            Err(cause) => return Err(self.csv_error(&cause)),
        };
        if header.is_empty() || header.iter().eq(COLUMNS) {
            return Ok(());
        }
        let dialect = Dialect::of_file(&self.path, &BTreeSet::new())
            .filter(|dialect| dialect.format != Some(TraceFormat::Azure2023));
        if let Some(dialect) = dialect {
            return Err(self.error(1, dialect.to_string()));
        }
        let found: Vec<&str> = header.iter().collect();
        Err(self.error(
            1,
            format!("has the columns `{}` instead of `{}`", found.join(","), COLUMNS.join(",")),
        ))
    }

    /// None at the end of the file.
    pub fn next_record(&mut self) -> Result<Option<TraceRecord>, WorkloadError> {
        match self.csv.read_record(&mut self.record) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(cause) => return Err(self.csv_error(&cause)),
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        let at: DateTime = self.record[0].parse().map_err(|_| {
            self.error(
                line,
                format!(
                    "has the TIMESTAMP `{}`; write for example 2023-11-16 18:17:03.9799600",
                    &self.record[0]
                ),
            )
        })?;
        let prompt_tokens = self.tokens(line, 1)?;
        let output_tokens = self.tokens(line, 2)?;
        if prompt_tokens == 0 {
            return Err(self.error(line, "has ContextTokens 0; a request must ask something"));
        }
        let content = |namespace| ContentId::derive(self.seed, namespace, line);
        Ok(Some(TraceRecord {
            line,
            at_ns: at.duration_since(EPOCH).as_nanos(),
            prompt: Prompt::new([Piece::new(content("azure prompt"), prompt_tokens)]),
            output_tokens,
            output: content("azure answer"),
        }))
    }

    fn tokens(&self, line: u64, column: usize) -> Result<u32, WorkloadError> {
        let text = &self.record[column];
        match text.parse() {
            // Half each, so that prompt and answer together stay within the limit.
            Ok(tokens) if u64::from(tokens) <= MAX_REQUEST_TOKENS / 2 => Ok(tokens),
            _ => Err(self.error(
                line,
                format!("has {} `{text}`, which is not a number of tokens", COLUMNS[column]),
            )),
        }
    }

    fn error(&self, line: u64, problem: impl Into<String>) -> WorkloadError {
        WorkloadError::Line { path: self.path.clone(), line, problem: problem.into() }
    }

    fn csv_error(&self, cause: &csv::Error) -> WorkloadError {
        let line = cause.position().map_or_else(|| self.csv.position().line(), csv::Position::line);
        match cause.kind() {
            csv::ErrorKind::Io(cause) => {
                WorkloadError::Read { path: self.path.clone(), line, cause: cause.to_string() }
            }
            csv::ErrorKind::UnequalLengths { len, .. } => {
                self.error(line, format!("has {len} columns instead of {}", COLUMNS.join(",")))
            }
            csv::ErrorKind::Utf8 { .. } => {
                self.error(line, "is not UTF-8 text; is this a CSV file?")
            }
            _ => self.error(line, cause.to_string()),
        }
    }
}
