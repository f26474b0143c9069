//! The rows and figures of one cell in the formats of other tools.
//!
//! Exports are of the measured set (docs/definitions.md): the requests due inside the window.
//! `GuideLLM`'s is of those that ended inside it, as its own reports are. Each format keeps its own
//! definitions of metrics: latencies count from sending, not from the due time. Where a format has
//! room, definitions and the wait before sending are added.
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

#[derive(Clone, Copy)]
pub struct ExportInput<'a> {
    pub rows: &'a dyn Fn() -> Result<Rows<'a>, RecordError>,
    /// With the load generator's certificate where there is one.
    pub figures: &'a CellFigures,
    pub window: Window,
    /// For example `c50`.
    pub level: &'a str,
    pub load: OfferedLoad,
    pub model: &'a str,
    pub endpoint: &'a str,
    /// Unix time of the cell's start: rows count from here.
    pub started_unix_ns: u64,
    pub seed: u64,
    pub workers: u32,
    pub slo: &'a Slo,
}

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

    pub const fn name(self) -> &'static str {
        match self {
            Self::GuideLlm => "guidellm",
            Self::VllmBench => "vllm-bench",
            Self::BenchmarkReport => "benchmark-report",
            Self::ScriptCsv => "csv",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|export| export.name() == name)
    }

    pub const fn file_name(self) -> &'static str {
        match self {
            Self::GuideLlm => "guidellm.json",
            Self::VllmBench => "vllm-bench.json",
            Self::BenchmarkReport => "benchmark_report_v0.2.1.yaml",
            Self::ScriptCsv => "metrics.csv",
        }
    }

    /// Writes nothing of a level that the load generator refused.
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
    fn unix_s(&self, ns: u64) -> f64 {
        self.started_unix_ns.saturating_add(ns) as f64 / 1e9
    }
}

/// Name and version.
const TOOL: (&str, &str) = ("weir", env!("CARGO_PKG_VERSION"));

/// The requests that an export is of, for formats with room for a note.
const SCOPE: &str = "Requests that were due inside the measured window, whatever came of them and \
                     whenever they ended. Latencies count from the first byte handed to the kernel, not \
                     from the due time; the wait before it is given apart.";
