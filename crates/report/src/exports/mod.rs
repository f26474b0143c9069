//! The rows and figures of one cell in the formats of other tools, so that what reads those can
//! read a run of Weir.
//!
//! Exports speak of the measured set, as the figures do (docs/definitions.md): the requests that
//! were due inside the window, whatever came of them. `GuideLLM`'s speaks of those that ended
//! inside it, as its own reports do. Each format keeps its own definitions of its metrics, also
//! where they differ from Weir's: latencies count from the moment a request was sent, not from the
//! moment it was due, because that is what the readers of these files take them for. Where a format
//! has room, the definitions and the wait before sending are written beside them.
//!
//! Rows are opened as often as a format needs them, and per-chunk times are never held: memory
//! grows by some 100 bytes per request.

mod benchmark_report;
mod guidellm;
mod load;
mod sample;
mod script_csv;
mod stream;
mod vllm;

use std::io::{self, Write};

use thiserror::Error;
use weir_model::{RequestRow, Window};
use weir_record::{CellFigures, RecordError};
use weir_spec::plan::Slo;

pub use load::OfferedLoad;

use crate::words::refusal_words;

/// Request rows in the order they were recorded.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<RequestRow, RecordError>> + 'a>;

/// One cell, as all exports take it.
#[derive(Clone, Copy)]
pub struct ExportInput<'a> {
    /// Opens the rows anew; called a few times per export.
    pub rows: &'a dyn Fn() -> Result<Rows<'a>, RecordError>,
    /// Its figures, with the load generator's certificate where it has one.
    pub figures: &'a CellFigures,
    pub window: Window,
    /// Name of its level: `c50`.
    pub level: &'a str,
    pub load: OfferedLoad,
    /// The name by which the model is served.
    pub model: &'a str,
    pub endpoint: &'a str,
    /// When the cell started, Unix time: rows count from here.
    pub started_unix_ns: u64,
    pub seed: u64,
    /// Workers of the load generator.
    pub workers: u32,
    pub slo: &'a Slo,
}

/// Why an export could not be written.
#[derive(Debug, Error)]
pub enum ExportError {
    #[error("level {level}: the load generator was the limit, so nothing was exported; {why}")]
    Refused { level: String, why: String },
    #[error(transparent)]
    Rows(#[from] RecordError),
    #[error("the {format} export could not be written: {source}; check the disk and the path")]
    Write { format: &'static str, source: io::Error },
    #[error("the {format} export could not be made: {why}; this is a defect, please report it")]
    Unwritable { format: &'static str, why: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Export {
    /// `GuideLLM` 0.8.1's JSON report, schema version 2.
    GuideLlm,
    /// The result JSON of `vllm bench serve` (vLLM 0.32) with `--save-detailed`.
    VllmBench,
    /// llm-d-benchmark's Benchmark Report 0.2.1, YAML.
    BenchmarkReport,
    /// The CSV of the published vLLM + `LMCache` scripts, one line per completed request.
    ScriptCsv,
}

impl Export {
    pub const ALL: [Self; 4] =
        [Self::GuideLlm, Self::VllmBench, Self::BenchmarkReport, Self::ScriptCsv];

    /// The word on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GuideLlm => "guidellm",
            Self::VllmBench => "vllm-bench",
            Self::BenchmarkReport => "benchmark-report",
            Self::ScriptCsv => "csv",
        }
    }

    /// The format with that word.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|export| export.name() == name)
    }

    /// What a file of this format is called where nobody says otherwise.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::GuideLlm => "guidellm.json",
            Self::VllmBench => "vllm-bench.json",
            Self::BenchmarkReport => "benchmark_report_v0.2.1.yaml",
            Self::ScriptCsv => "metrics.csv",
        }
    }

    /// Writes a cell. Nothing is written of a level that the load generator refused.
    pub fn write(self, input: &ExportInput<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
        let certificate = input.figures.certificate.as_ref();
        if let Some(why) = certificate.and_then(refusal_words) {
            return Err(ExportError::Refused { level: input.level.to_owned(), why });
        }
        match self {
            Self::GuideLlm => guidellm::write(input, out),
            Self::VllmBench => vllm::write(input, out),
            Self::BenchmarkReport => benchmark_report::write(input, out),
            Self::ScriptCsv => script_csv::write(input, out),
        }
    }

    /// An error of this format's serialiser.
    fn failed(self, error: serde_json::Error) -> ExportError {
        let format = self.name();
        if error.is_io() {
            ExportError::Write { format, source: error.into() }
        } else {
            ExportError::Unwritable { format, why: error.to_string() }
        }
    }
}

impl ExportInput<'_> {
    /// A time of a row as Unix seconds.
    fn unix_s(&self, ns: u64) -> f64 {
        self.started_unix_ns.saturating_add(ns) as f64 / 1e9
    }
}

/// The name and version of what wrote a file.
const TOOL: (&str, &str) = ("weir", env!("CARGO_PKG_VERSION"));

/// Of which requests and of what an export speaks, for formats with room for a note.
const SCOPE: &str = "Requests that were due inside the measured window, whatever came of them and \
                     whenever they ended. Latencies count from the first byte handed to the kernel, not \
                     from the due time; the wait before it is given apart.";
