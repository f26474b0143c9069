use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_model::{
    AnswerFacts, CellFailure, Certificate, Claim, FactDifference, FailureCause, Nanos, Note,
    Reason, Remedy, RunningFacts, Signals, Verdict,
};

/// A distribution in one unit, from exact quantiles (type 7). Without values the rest is null in
/// files: missing is not zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredDistribution", into = "StoredDistribution")]
pub struct Distribution {
    pub count: u64,
    pub mean: f64,
    /// With n - 1.
    pub stddev: f64,
    pub min: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

/// [`Distribution`] in files.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredDistribution {
    count: u64,
    mean: Option<f64>,
    stddev: Option<f64>,
    min: Option<f64>,
    p50: Option<f64>,
    p90: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
}

impl From<Distribution> for StoredDistribution {
    fn from(of: Distribution) -> Self {
        let seen = |value| (of.count > 0).then_some(value);
        Self {
            count: of.count,
            mean: seen(of.mean),
            stddev: seen(of.stddev),
            min: seen(of.min),
            p50: seen(of.p50),
            p90: seen(of.p90),
            p95: seen(of.p95),
            p99: seen(of.p99),
            max: seen(of.max),
        }
    }
}

impl From<StoredDistribution> for Distribution {
    fn from(of: StoredDistribution) -> Self {
        let value = |stored: Option<f64>| stored.unwrap_or_default();
        Self {
            count: of.count,
            mean: value(of.mean),
            stddev: value(of.stddev),
            min: value(of.min),
            p50: value(of.p50),
            p90: value(of.p90),
            p95: value(of.p95),
            p99: value(of.p99),
            max: value(of.max),
        }
    }
}

/// docs/definitions.md defines each figure's requests and times: the *measured set* is the
/// requests that were due in the window, followed to their ends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellFigures {
    /// Seconds.
    pub window_s: f64,
    /// `completed + failed + open`.
    pub measured: u64,
    /// In full.
    pub completed: u64,
    pub failed: u64,
    /// Not ended at the end of the cell.
    pub open: u64,
    /// The most frequent ones, of the measured set.
    pub failures: Vec<FailureCause>,
    /// Output tokens inside the window, of completed requests, per second. Rates are absent where
    /// no request completed.
    pub output_tokens_per_s: Option<f64>,
    /// Output tokens inside the window, of failed requests, per second.
    pub failed_output_tokens_per_s: Option<f64>,
    /// Output tokens of requests completed inside the window, per second.
    pub completed_output_tokens_per_s: Option<f64>,
    /// Mean over the measured set of output tokens / end-to-end time, times the mean number in
    /// flight: throughput from the per-request distribution.
    pub per_request_output_tokens_per_s: Option<f64>,
    /// Prompt tokens of requests completed inside the window, per second.
    pub prompt_tokens_per_s: Option<f64>,
    /// Requests completed inside the window, per second.
    pub requests_per_s: Option<f64>,
    /// Time to first token, milliseconds.
    pub ttft_ms: Distribution,
    /// (end - first token) / (output tokens - 1), milliseconds.
    pub tpot_ms: Distribution,
    /// Gaps between tokens, milliseconds, over all tokens of the measured set.
    pub itl_ms: Distribution,
    /// End - due, milliseconds.
    pub e2e_ms: Distribution,
    /// By `GuideLLM`'s definitions, from the same rows.
    pub guidellm: GuideLlmFigures,
    /// Inside the window.
    pub mean_in_flight: f64,
    /// Requests of the measured set that met every objective, per second of the window; absent
    /// without objectives.
    pub goodput_requests_per_s: Option<f64>,
    /// Share of the measured set that met every objective.
    pub goodput_share: Option<f64>,
    /// GPU prefix hit tokens / prompt tokens, percent.
    pub gpu_hit_percent: Option<f64>,
    /// External hit tokens / prompt tokens, percent.
    pub external_hit_percent: Option<f64>,
    /// Price of a million output tokens; absent without prices.
    pub cost_per_million_output_tokens: Option<f64>,
    /// All replicas, simulated.
    pub passes: u64,
    /// Requests of a trace that exceed the model's context.
    #[serde(default)]
    pub skipped_requests: u64,
    /// Requests of a trace that were cut to fit the context.
    #[serde(default)]
    pub truncated_requests: u64,
    /// Live cells with several replicas, by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<ReplicaFigures>,
    /// Live cells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<AnswerFacts>,
    /// Live cells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
}

/// Of the measured set's completed requests that a replica answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaFigures {
    /// As the responses name it.
    pub address: String,
    pub completed: u64,
    pub prompt_tokens: u64,
    /// Prompt tokens that a cache served, by the answers.
    pub hit_tokens: u64,
    /// Requests that waited in it, mean over the window; absent where its metrics were not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_waiting: Option<f64>,
}

/// By `GuideLLM`'s definitions, to compare with its publications: completed requests that *ended*
/// inside the window, and all tokens in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuideLlmFigures {
    /// Output tokens that came inside the window, of all requests, per second.
    pub output_tokens_per_s: Option<f64>,
    /// Time to first token, milliseconds.
    pub ttft_ms: Distribution,
    /// Its "TPOT": end-to-end time / output tokens, first token included, milliseconds.
    pub tpot_ms: Distribution,
    /// Gaps between tokens that ended inside the window, milliseconds.
    pub itl_ms: Distribution,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    pub signals: Signals,
    #[serde(default, skip_serializing_if = "RunningFacts::is_empty")]
    pub facts: RunningFacts,
    pub verdict: Verdict,
    /// True for the simulator, which predicts but cannot discover.
    pub predicted: bool,
    pub claims: Vec<Claim>,
    /// By the signals; None where the cell's status is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The verdict of the stronger of two claims, where it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_half: Option<Verdict>,
    /// None where the verdict needs no change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
    /// What could not be done or observed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Set where the window is short for its requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_window: Option<ShortWindow>,
}

/// Hardly any request fits into the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShortWindow {
    pub window: Nanos,
    /// From sending to the end, of measured requests that ended.
    pub mean_request: Nanos,
}

impl ShortWindow {
    /// Shorter windows, in mean requests one after another, are short.
    pub const LEAST_REQUESTS: u64 = 5;

    pub fn of(window: Nanos, mean_request: Nanos) -> Option<Self> {
        let is_short = window.0 < mean_request.0.saturating_mul(Self::LEAST_REQUESTS);
        is_short.then_some(Self { window, mean_request })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellStatus {
    Complete,
    /// An error, or rows without a result.
    Failed(CellFailure),
    /// A larger share of the measured set failed than the plan allows.
    RequestsFailed {
        /// The allowed share.
        most: f64,
    },
    /// No request of the measured set had completed at the end.
    NothingCompleted,
    /// What ran was not what the plan says, or changed.
    NotComparable(Vec<FactDifference>),
}

/// `cell.json`, written last: its presence means that the cell is complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellRecord {
    pub path: String,
    pub status: CellStatus,
    pub figures: CellFigures,
    /// Sibling files: name -> (bytes, xxh3-64 in hex).
    pub files: BTreeMap<String, (u64, String)>,
    pub attempts: u32,
}
