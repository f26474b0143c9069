//! What is recorded of one cell besides its request rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_model::{Certificate, Signals, Verdict};

pub use weir_model::{Claim, StepRow};

/// A distribution in one unit, from exact quantiles (type 7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// Values.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Standard deviation (n - 1).
    pub stddev: f64,
    /// Smallest.
    pub min: f64,
    /// 50th percentile.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

/// The figures of one cell over its measured window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellFigures {
    /// Length of the window, seconds.
    pub window_s: f64,
    /// Requests that ended `done` inside the window.
    pub completed: u64,
    /// Requests that failed inside the window.
    pub failed: u64,
    /// Requests in flight when the cell ended.
    pub unfinished: u64,
    /// Output tokens that came inside the window, of all requests, per second.
    pub output_tokens_per_s: f64,
    /// Output tokens of the completed requests, divided by the window.
    pub completed_output_tokens_per_s: f64,
    /// Mean over completed requests of output tokens / end-to-end time, times the mean number in
    /// flight: the per-request-distribution form of throughput.
    pub per_request_output_tokens_per_s: f64,
    /// Prompt tokens of completed requests per second.
    pub prompt_tokens_per_s: f64,
    /// Completed requests per second.
    pub requests_per_s: f64,
    /// Time to first token, milliseconds, over completed requests.
    pub ttft_ms: Distribution,
    /// (end - first token) / (output tokens - 1), milliseconds.
    pub tpot_ms: Distribution,
    /// Gaps between tokens, milliseconds, over all tokens of the window.
    pub itl_ms: Distribution,
    /// End - due, milliseconds.
    pub e2e_ms: Distribution,
    /// `GuideLLM`'s "TPOT": end-to-end time / output tokens, first token included, milliseconds.
    pub guidellm_tpot_ms: Distribution,
    /// Mean number of requests in flight.
    pub mean_in_flight: f64,
    /// Completed requests per second that met every objective; absent without objectives.
    pub goodput_requests_per_s: Option<f64>,
    /// Share of the completed requests that met every objective.
    pub goodput_share: Option<f64>,
    /// GPU prefix hit tokens / prompt tokens, percent.
    pub gpu_hit_percent: f64,
    /// External hit tokens / prompt tokens, percent.
    pub external_hit_percent: f64,
    /// Price of a million output tokens; absent without prices.
    pub cost_per_million_output_tokens: Option<f64>,
    /// Simulated passes, all replicas.
    pub passes: u64,
    /// Requests of a trace that were left out because the model's context cannot hold them.
    #[serde(default)]
    pub skipped_requests: u64,
    /// Requests of a trace that were cut to fit the context.
    #[serde(default)]
    pub truncated_requests: u64,
    /// Live cells: what the load generator says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
}

/// Claims of an arm with the signals seen for them, and the verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The signals of the window.
    pub signals: Signals,
    /// What the signals make of the arm.
    pub verdict: Verdict,
    /// True for the simulator, which foresees but cannot discover.
    pub predicted: bool,
    /// Each claim with whether it held and the figures that say so, in words.
    pub claims: Vec<Claim>,
    /// Why, in one sentence, and what to change.
    pub explanation: String,
}

/// How far a cell came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellStatus {
    /// It ran to its end.
    Complete,
    /// It did not; the cause in words.
    Failed(String),
}

/// `cell.json`, written last: its presence means that the cell is complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellRecord {
    /// The cell's path under `cells/`.
    pub path: String,
    /// How far it came.
    pub status: CellStatus,
    /// Its figures.
    pub figures: CellFigures,
    /// Sibling files: name -> (bytes, xxh3-64 in hex).
    pub files: BTreeMap<String, (u64, String)>,
    /// Attempts it took.
    pub attempts: u32,
}
