//! The metrics of a cell: one table for CSV columns, comparisons, charts and definitions.

use weir_model::{Certificate, SignalKind, Spread};
use weir_record::Distribution;

use crate::results::CellResult;

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    Higher,
    Lower,
    Neither,
}

impl Better {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
            Self::Neither => "neither",
        }
    }

    /// Percent; positive is an improvement.
    pub fn gain(self, percent: f64) -> f64 {
        if self == Self::Lower { -percent } else { percent }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub key: &'static str,
    pub title: &'static str,
    pub unit: &'static str,
    pub better: Better,
    pub compared: bool,
    pub definition: &'static str,
    pub of: fn(&CellResult) -> Option<f64>,
}

impl Metric {
    /// With the currency of a run where it is money.
    pub(crate) fn unit_in<'a>(&'a self, currency: &'a str) -> &'a str {
        if self.unit == CURRENCY && !currency.is_empty() { currency } else { self.unit }
    }
}

/// The unit of money without a run.
const CURRENCY: &str = "currency";

/// Key of the metric that decides at closed-loop levels.
pub const THROUGHPUT: &str = "output_tokens_per_s";
/// Key of the metric that decides at open-loop levels without objectives.
pub const TTFT_MEAN: &str = "ttft_mean_ms";
/// Key of the metric that decides where there are objectives.
pub const GOODPUT: &str = "goodput_requests_per_s";
pub const GOODPUT_SHARE: &str = "goodput_share";
pub const COST: &str = "cost_per_million_output_tokens";

pub fn metric(key: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.key == key)
}

fn seen(distribution: &Distribution, value: f64) -> Option<f64> {
    (distribution.count > 0).then_some(value)
}

fn rate_of(result: &CellResult, kind: SignalKind) -> Option<f64> {
    let bytes = result.evidence.as_ref()?.signals.get(kind)?;
    let seconds = result.record.figures.window_s;
    (seconds > 0.0).then(|| bytes / seconds / 1e9)
}

fn signal(result: &CellResult, kind: SignalKind) -> Option<f64> {
    result.evidence.as_ref()?.signals.get(kind)
}

fn certified(result: &CellResult, value: fn(&Certificate) -> Option<f64>) -> Option<f64> {
    result.record.figures.certificate.as_ref().and_then(value)
}

fn spread(times: &Spread) -> Option<f64> {
    (times.count > 0).then(|| times.p99.as_millis_f64())
}

macro_rules! figure {
    ($field:ident) => {
        |cell| cell.record.figures.$field
    };
    ($($field:ident).+ of $part:ident) => {
        |cell| seen(&cell.record.figures.$($field).+, cell.record.figures.$($field).+.$part)
    };
}

/// A time between the tokens of a stream; None where most answers came in one piece.
macro_rules! between {
    ($($field:ident).+ of $part:ident) => {
        |cell| {
            let times = &cell.record.figures.$($field).+;
            seen(times, times.$part).filter(|_| streams(cell))
        }
    };
}

/// Whether the tokens of most answers came one after another.
fn streams(result: &CellResult) -> bool {
    let answers = result.record.figures.answers.as_ref();
    answers.is_none_or(|facts| 2 * facts.in_one_piece <= facts.answers())
}

macro_rules! count {
    ($field:ident) => {
        |cell| Some(cell.record.figures.$field as f64)
    };
}

macro_rules! metrics {
    ($($key:literal, $title:literal, $unit:literal, $better:ident, $compared:literal,
       $definition:literal, $of:expr;)*) => {
        /// All metrics, in the order of files and tables.
        pub const METRICS: &[Metric] = &[$(Metric {
            key: $key,
            title: $title,
            unit: $unit,
            better: Better::$better,
            compared: $compared,
            definition: $definition,
            of: $of,
        }),*];
    };
}

metrics! {
    "output_tokens_per_s", "Output throughput", "tok/s", Higher, true,
    "Output tokens that came inside the window, of requests that completed, divided by the window.",
    figure!(output_tokens_per_s);
    "completed_output_tokens_per_s", "Output throughput, completed", "tok/s", Higher, false,
    "Output tokens of the requests that completed inside the window, divided by the window.",
    figure!(completed_output_tokens_per_s);
    "failed_output_tokens_per_s", "Output tokens of failed requests", "tok/s", Lower, false,
    "Output tokens that came inside the window, of requests that failed later, divided by the \
     window. They are in no other figure.",
    figure!(failed_output_tokens_per_s);
    "per_request_output_tokens_per_s", "Output throughput, per request", "tok/s", Higher, false,
    "Mean over completed requests of the measured set of output tokens / end-to-end time, times the mean number in \
     flight: the form in which some load generators print throughput. It weighs short requests \
     more, and is above the token total when latencies vary.",
    figure!(per_request_output_tokens_per_s);
    "prompt_tokens_per_s", "Prompt throughput", "tok/s", Higher, false,
    "Prompt tokens of the requests that completed inside the window, cached ones included, divided \
     by the window.",
    figure!(prompt_tokens_per_s);
    "requests_per_s", "Requests", "1/s", Higher, false,
    "Requests completed inside the window, divided by the window.",
    figure!(requests_per_s);
    "goodput_requests_per_s", "Goodput", "1/s", Higher, true,
    "Requests of the measured set that met every objective (slo), divided by the window. Failed \
     ones met none. Empty without objectives.",
    |cell| cell.record.figures.goodput_requests_per_s;
    "goodput_share", "Goodput share", "ratio", Higher, false,
    "Share of the measured set that met every objective; failed and open requests met none. Empty \
     without objectives.",
    |cell| cell.record.figures.goodput_share;
    "ttft_mean_ms", "TTFT mean", "ms", Lower, true,
    "Time to first token, mean over the completed requests of the measured set: first token - due.",
    figure!(ttft_ms of mean);
    "ttft_p50_ms", "TTFT p50", "ms", Lower, true,
    "Time to first token, median.", figure!(ttft_ms of p50);
    "ttft_p90_ms", "TTFT p90", "ms", Lower, false,
    "Time to first token, 90th percentile.", figure!(ttft_ms of p90);
    "ttft_p99_ms", "TTFT p99", "ms", Lower, false,
    "Time to first token, 99th percentile.", figure!(ttft_ms of p99);
    "tpot_mean_ms", "TPOT mean", "ms", Lower, true,
    "Time per output token after the first, mean over the completed requests of the measured set \
     with at least two tokens: (end - first token) / (output tokens - 1). Empty where most answers \
     came in one piece.",
    between!(tpot_ms of mean);
    "tpot_p50_ms", "TPOT p50", "ms", Lower, false,
    "Time per output token after the first, median.", between!(tpot_ms of p50);
    "tpot_p99_ms", "TPOT p99", "ms", Lower, false,
    "Time per output token after the first, 99th percentile.", between!(tpot_ms of p99);
    "itl_mean_ms", "ITL mean", "ms", Lower, true,
    "Inter-token latency: gaps between consecutive tokens, over all gaps of the completed requests \
     of the measured set (not averaged per request first). On live targets, between stream events \
     that brought output; one can bring several tokens.",
    between!(itl_ms of mean);
    "itl_p50_ms", "ITL p50", "ms", Lower, false,
    "Inter-token latency, median.", between!(itl_ms of p50);
    "itl_p99_ms", "ITL p99", "ms", Lower, false,
    "Inter-token latency, 99th percentile.", between!(itl_ms of p99);
    "e2e_mean_ms", "End-to-end mean", "ms", Lower, true,
    "Time of the whole request, mean over the completed requests of the measured set: end - due.",
    figure!(e2e_ms of mean);
    "e2e_p50_ms", "End-to-end p50", "ms", Lower, false,
    "Time of the whole request, median.", figure!(e2e_ms of p50);
    "e2e_p99_ms", "End-to-end p99", "ms", Lower, false,
    "Time of the whole request, 99th percentile.", figure!(e2e_ms of p99);
    "guidellm_tpot_mean_ms", "GuideLLM TPOT mean", "ms", Lower, false,
    "What GuideLLM calls time per output token: (end - start) / output tokens, with the first \
     token's time included. Not comparable with TPOT. GuideLLM's figures are of the requests that \
     ended inside the window.",
    figure!(guidellm.tpot_ms of mean);
    "guidellm_output_tokens_per_s", "GuideLLM output throughput", "tok/s", Higher, false,
    "Output tokens that came inside the window, of all requests, divided by the window.",
    |cell| cell.record.figures.guidellm.output_tokens_per_s;
    "guidellm_ttft_mean_ms", "GuideLLM TTFT mean", "ms", Lower, false,
    "Time to first token, mean over the completed requests that ended inside the window.",
    figure!(guidellm.ttft_ms of mean);
    "guidellm_itl_mean_ms", "GuideLLM ITL mean", "ms", Lower, false,
    "Inter-token latency, mean over all gaps that ended inside the window.",
    figure!(guidellm.itl_ms of mean);
    "mean_in_flight", "In flight", "requests", Neither, false,
    "Mean number of requests in flight (sent and not ended) inside the window.",
    count!(mean_in_flight);
    "gpu_hit_percent", "GPU hit rate", "%", Neither, false,
    "Prompt tokens served by the GPU's prefix cache, of all prompt tokens of the measured set's completed \
     requests.",
    figure!(gpu_hit_percent);
    "external_hit_percent", "External hit rate", "%", Neither, false,
    "Prompt tokens served by tiers below the GPU, of all prompt tokens of the measured set's completed \
     requests.",
    figure!(external_hit_percent);
    "loaded_gb_per_s", "Loaded from tiers", "GB/s", Neither, false,
    "Bytes loaded from tiers to the GPU, divided by the window (1 GB = 10^9 bytes). Empty where \
     not observable.",
    |cell| rate_of(cell, SignalKind::LoadedBytes);
    "stored_gb_per_s", "Stored to tiers", "GB/s", Neither, false,
    "Bytes written from the GPU to tiers, divided by the window. Empty where not observable.",
    |cell| rate_of(cell, SignalKind::StoredBytes);
    "preemptions", "Preemptions", "count", Lower, false,
    "Requests preempted for want of KV blocks. Empty where not observable.",
    |cell| signal(cell, SignalKind::Preemptions);
    "cost_per_million_output_tokens", "Cost per 1M output tokens", "currency", Lower, true,
    "Price of an hour of the arm / 3600 / output throughput x 10^6, in the currency of `prices`: \
     GPUs x price of a GPU hour, and the capacity of each tier that has a price (a month has 730 \
     hours; each replica has its own tiers, all share the store). Empty without `prices.gpu_hour`.",
    |cell| cell.record.figures.cost_per_million_output_tokens;
    "measured", "Measured", "count", Neither, false,
    "Requests of the measured set: those that were due inside the window, whatever came of them.",
    count!(measured);
    "completed", "Completed", "count", Neither, false,
    "Requests of the measured set that were answered in full.", count!(completed);
    "failed", "Failed", "count", Lower, false,
    "Requests of the measured set that failed; only the goodput share and the row of their tokens \
     speak of them.",
    count!(failed);
    "open", "Open", "count", Lower, false,
    "Requests of the measured set that had not ended when the cell did; with any, the latencies are \
     lower bounds.",
    count!(open);
    "skipped_requests", "Skipped", "count", Neither, false,
    "Requests of a trace that were left out because the model's context cannot hold them.",
    count!(skipped_requests);
    "truncated_requests", "Truncated", "count", Neither, false,
    "Requests of a trace that were cut to fit the model's context.",
    count!(truncated_requests);
    "ttft_error_bound_ms", "TTFT error bound", "ms", Neither, false,
    "Live targets: the most by which the shown time to first token can be too long because of the \
     load generator (sent, noticed or read late), 99th percentile over requests. Empty in \
     simulation.",
    |cell| certified(cell, |seen| spread(&seen.first_token_bound));
    "itl_error_bound_ms", "ITL error bound", "ms", Neither, false,
    "Live targets: the most by which the load generator can have made a gap between stream events \
     wrong, either way, 99th percentile. Empty in simulation.",
    |cell| certified(cell, |seen| spread(&seen.gap_bound));
    "send_lag_p99_ms", "Sent late", "ms", Neither, false,
    "Live targets: from a request's due time to its first byte handed to the kernel, 99th \
     percentile; latencies count from the due time and contain it. Empty in simulation.",
    |cell| certified(cell, |seen| spread(&seen.send_lag));
    "generator_busy_percent", "Generator busy", "%", Neither, false,
    "Live targets: CPU time of the load generator's busiest worker, of the window. Empty in \
     simulation.",
    |cell| certified(cell, |seen| Some(100.0 * seen.busy_share));
    "window_s", "Window", "s", Neither, false,
    "Length of the measured window: from the end of the warm-up to the end of the load.",
    count!(window_s);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_and_the_deciding_ones_exist() {
        let mut keys: Vec<&str> = METRICS.iter().map(|metric| metric.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), METRICS.len());
        for key in [THROUGHPUT, TTFT_MEAN, GOODPUT, COST] {
            assert!(metric(key).is_some_and(|metric| metric.compared), "{key}");
        }
        assert!(METRICS.iter().all(|metric| metric.definition.ends_with('.')));
    }
}
