//! What is recorded of one cell besides its request rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_model::{
    AnswerFacts, CellFailure, Certificate, Claim, FactDifference, FailureCause, Nanos, Note,
    Reason, Remedy, RunningFacts, Signals, Verdict,
};

/// A distribution in one unit, from exact quantiles (type 7). Without values everything else is
/// null in files: what nobody saw is not zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredDistribution", into = "StoredDistribution")]
pub struct Distribution {
    pub count: u64,
    pub mean: f64,
    /// Standard deviation (n - 1).
    pub stddev: f64,
    pub min: f64,
    /// 50th percentile.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    pub max: f64,
}

/// [`Distribution`] as it stands in files.
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

/// The figures of one cell. docs/definitions.md says of which requests and times each speaks: the
/// *measured set* is the requests that were due in the window, followed to their ends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellFigures {
    /// Length of the window, seconds.
    pub window_s: f64,
    /// Requests of the measured set: `completed + failed + open`.
    pub measured: u64,
    /// Of them, those that were answered in full.
    pub completed: u64,
    pub failed: u64,
    /// Of them, those that had not ended when the cell did.
    pub open: u64,
    /// The commonest causes of failed requests of the measured set.
    pub failures: Vec<FailureCause>,
    /// Output tokens that came inside the window, of requests that completed, per second. Rates are
    /// absent where no request completed.
    pub output_tokens_per_s: Option<f64>,
    /// Output tokens that came inside the window, of requests that failed, per second.
    pub failed_output_tokens_per_s: Option<f64>,
    /// Output tokens of the requests that completed inside the window, divided by it.
    pub completed_output_tokens_per_s: Option<f64>,
    /// Mean over the measured set of output tokens / end-to-end time, times the mean number in
    /// flight: the per-request-distribution form of throughput.
    pub per_request_output_tokens_per_s: Option<f64>,
    /// Prompt tokens of the requests that completed inside the window, divided by it.
    pub prompt_tokens_per_s: Option<f64>,
    /// Requests that completed inside the window, divided by it.
    pub requests_per_s: Option<f64>,
    /// Time to first token, milliseconds.
    pub ttft_ms: Distribution,
    /// (end - first token) / (output tokens - 1), milliseconds.
    pub tpot_ms: Distribution,
    /// Gaps between tokens, milliseconds, over all tokens of the measured set.
    pub itl_ms: Distribution,
    /// End - due, milliseconds.
    pub e2e_ms: Distribution,
    /// What `GuideLLM` makes of the same rows.
    pub guidellm: GuideLlmFigures,
    /// Mean number of requests in flight inside the window.
    pub mean_in_flight: f64,
    /// Requests of the measured set that met every objective, divided by the window; absent without
    /// objectives.
    pub goodput_requests_per_s: Option<f64>,
    /// Share of the measured set that met every objective.
    pub goodput_share: Option<f64>,
    /// GPU prefix hit tokens / prompt tokens, percent.
    pub gpu_hit_percent: Option<f64>,
    /// External hit tokens / prompt tokens, percent.
    pub external_hit_percent: Option<f64>,
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
    /// Live cells: how the tokens of answers were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<AnswerFacts>,
    /// Live cells: what the load generator says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
}

/// Figures by `GuideLLM`'s definitions, for comparisons with what it published: over the completed
/// requests that *ended* inside the window, whenever they were due, and all tokens that came in it.
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

/// Claims of an arm with the signals seen for them, and the verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    pub signals: Signals,
    /// What the running software said of itself.
    #[serde(default, skip_serializing_if = "RunningFacts::is_empty")]
    pub facts: RunningFacts,
    /// What the signals make of the arm.
    pub verdict: Verdict,
    /// True for the simulator, which predicts but cannot discover.
    pub predicted: bool,
    /// Each claim with the figures that were seen, and whether it held.
    pub claims: Vec<Claim>,
    /// Why, by the signals; nothing where the cell's status is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Of an arm with two claims: the verdict of the stronger one, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_half: Option<Verdict>,
    /// What to change; nothing where the verdict asks for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
    /// What could not be done or seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// That the window is short against the requests in it, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_window: Option<ShortWindow>,
}

/// A window that holds hardly any request as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShortWindow {
    pub window: Nanos,
    /// Mean time from sending to the end of the measured requests that ended.
    pub mean_request: Nanos,
}

impl ShortWindow {
    /// Mean requests that a window holds at least, one after another, or else it is short.
    pub const LEAST_REQUESTS: u64 = 5;

    pub fn of(window: Nanos, mean_request: Nanos) -> Option<Self> {
        let is_short = window.0 < mean_request.0.saturating_mul(Self::LEAST_REQUESTS);
        is_short.then_some(Self { window, mean_request })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellStatus {
    /// It ran to its end.
    Complete,
    /// It did not, or its rows show no result.
    Failed(CellFailure),
    /// It ran to its end, and a larger share of the measured set failed than the plan allows; the
    /// figures say how many, and why.
    RequestsFailed {
        /// The share that is allowed.
        most: f64,
    },
    /// It ran to its end, and no request of the measured set had completed by then.
    NothingCompleted,
    /// It ran to its end, and what ran was not what the plan says, or not the same all the time.
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
