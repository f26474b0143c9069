//! The configuration, the scheduler and the warnings of a report.

use serde_json::{Value, json};
use weir_model::Outcome;

use super::super::sample::Seen;
use super::super::{ExportInput, OfferedLoad, TOOL};
use super::metrics::{Totals, groups, totals};
use super::summary::Summary;

/// The version whose format is written.
pub(super) const GUIDELLM: &str = "0.8.1";

/// The requests that the report is of.
const SCOPE: &str = "Requests that ended inside the measured window, and those in flight when the \
                     load ended, as GuideLLM's own reports. Latencies count from the first byte \
                     handed to the kernel, not from the due time; the wait before it is given \
                     apart.";

/// Weir's metrics against `GuideLLM`'s own.
const DEFINITIONS: &str = "time_per_output_token_ms is (last token - start) / output tokens, first \
                           token included (GuideLLM's definition; not the TPOT of other tools, \
                           which inter_token_latency_ms is). Requests without a first token are \
                           left out of first-token latencies. Token rates use the times of stream \
                           events.";

pub(super) fn metadata() -> Value {
    json!({
        "version": 2,
        "guidellm_version": GUIDELLM,
        "python_version": "none",
        "platform": format!("{} {}", TOOL.0, TOOL.1),
    })
}

/// `GuideLLM` refuses a rate of 0.
const LEAST_RATE: f64 = 1e-9;

/// `GuideLLM` has no gamma arrivals: they are given as Poisson of the same rate, and a trace as its
/// replay; labels hold the true load.
fn strategy(input: &ExportInput<'_>) -> Value {
    let workers = input.workers.max(1);
    match input.load {
        OfferedLoad::Users { users, ramp_s } => json!({
            "type_": "concurrent",
            "worker_count": workers,
            "max_concurrency": users.max(1),
            "streams": users.max(1),
            "rampup_duration": ramp_s,
        }),
        OfferedLoad::Constant { per_s } => json!({
            "type_": "constant",
            "worker_count": workers,
            "max_concurrency": null,
            "rate": per_s.max(LEAST_RATE),
            "rampup_duration": 0.0,
        }),
        OfferedLoad::Poisson { per_s } | OfferedLoad::Gamma { per_s, .. } => json!({
            "type_": "poisson",
            "worker_count": workers,
            "max_concurrency": null,
            "rate": per_s.max(LEAST_RATE),
            "random_seed": input.seed,
        }),
        OfferedLoad::Trace { speed } => json!({
            "type_": "trace",
            "worker_count": workers,
            "max_concurrency": null,
            "time_scale": (1.0 / speed.max(LEAST_RATE)).max(LEAST_RATE),
            "schedule_turn": "timestamp",
        }),
    }
}

fn transient(seconds: Option<f64>) -> Value {
    json!({"percent": null, "value": seconds, "mode": "duration"})
}

fn profile(input: &ExportInput<'_>) -> Value {
    let mut profile = match input.load {
        OfferedLoad::Users { users, .. } => {
            json!({"kind": "concurrent", "streams": [users.max(1)]})
        }
        OfferedLoad::Constant { per_s } => {
            json!({"kind": "constant", "rate": [per_s.max(LEAST_RATE)], "max_concurrency": null})
        }
        OfferedLoad::Poisson { per_s } | OfferedLoad::Gamma { per_s, .. } => {
            json!({"kind": "poisson", "rate": [per_s.max(LEAST_RATE)], "max_concurrency": null})
        }
        OfferedLoad::Trace { .. } => json!({"kind": "throughput", "max_concurrency": null}),
    };
    let ramp = match input.load {
        OfferedLoad::Users { ramp_s, .. } => ramp_s,
        _ => 0.0,
    };
    profile["rampup_duration"] = json!(ramp);
    profile["warmup"] = transient(Some(input.window.start.as_secs_f64()));
    profile["cooldown"] = transient(None);
    profile
}

fn backend(input: &ExportInput<'_>) -> Value {
    json!({"kind": "openai_http", "target": input.endpoint, "model": input.model})
}

fn slo(input: &ExportInput<'_>) -> Value {
    if !input.slo.binds() {
        return Value::Null;
    }
    let millis = |time: Option<weir_model::Nanos>| time.map(weir_model::Nanos::as_millis_f64);
    json!({
        "ttft_ms": millis(input.slo.ttft),
        "tpot_ms": millis(input.slo.tpot),
        "e2el_ms": millis(input.slo.e2e),
    })
}

/// Prompt and output lengths, with the keys of `GuideLLM`'s synthetic data.
///
/// llm-d-benchmark's converter (`native_to_br0_2.py`, `import_guidellm`) reads `prompt_tokens` and
/// `output_tokens` of the first data source, each with `_stdev`, `_min` and `_max`, and requires
/// the first two. `GuideLLM` takes whole numbers above 0 there, and null for none.
fn data(seen: &[Seen]) -> Value {
    let done: Vec<&Seen> = seen.iter().filter(|seen| seen.outcome == Outcome::Done).collect();
    if done.is_empty() {
        return json!({"kind": "in_memory_item_list", "data": []});
    }
    let mut data = json!({"kind": "synthetic_text", "load_kwargs": {}});
    for (key, tokens) in [
        ("prompt_tokens", done.iter().map(|seen| seen.prompt).collect::<Vec<u32>>()),
        ("output_tokens", done.iter().map(|seen| seen.output).collect()),
    ] {
        let count = tokens.len() as f64;
        let mean = tokens.iter().map(|tokens| f64::from(*tokens)).sum::<f64>() / count;
        let squares = tokens.iter().map(|tokens| (f64::from(*tokens) - mean).powi(2));
        let deviation = (squares.sum::<f64>() / count).sqrt();
        let whole = |value: f64| (value >= 0.5).then(|| value.round() as u64);
        let varies =
            |value: Option<&u32>| value.filter(|value| **value > 0 && deviation >= 0.5).copied();
        data[key] = json!(whole(mean).unwrap_or(1));
        data[format!("{key}_stdev")] = json!(whole(deviation));
        data[format!("{key}_min")] = json!(varies(tokens.iter().min()));
        data[format!("{key}_max")] = json!(varies(tokens.iter().max()));
    }
    data
}

/// The report's `config`: the settings of an equal `GuideLLM` run, as far as it has keys for them.
pub(super) fn scenario(input: &ExportInput<'_>, seen: &[Seen]) -> Value {
    json!({
        "metadata": {"labels": {
            "generator": format!("{} {}", TOOL.0, TOOL.1),
            "level": input.level,
            "load": input.load.words(),
            "scope": SCOPE,
            "definitions": DEFINITIONS,
        }},
        "spec": {
            "backend": backend(input),
            "profile": profile(input),
            "constraints": [],
            "tokenizer": {"kind": "huggingface_auto", "model": input.model, "load_kwargs": {}},
            "data": [data(seen)],
            "data_column_mapper": {"kind": "generative_column_mapper"},
            "data_preprocessors": [{"kind": "encode_media"}],
            "data_finalizer": {"kind": "generative"},
            "data_loader": {"kind": "pytorch"},
            "seed": {"kind": "static", "value": input.seed},
            "outputs": [{"kind": "json"}],
            "metrics": {
                "kind": "generative",
                "warnings": [],
                "sample_size": 0,
                "prefer_response_metrics": true,
                "confidence": null,
                "slo": slo(input),
            },
        },
        "benchmarks": [null],
    })
}

pub(super) fn benchmark(input: &ExportInput<'_>) -> Value {
    let run = format!("{}-{}", TOOL.0, input.started_unix_ns);
    json!({
        "id_": format!("{run}-{}", input.level),
        "run_id": run,
        "run_index": 0,
        "strategy": strategy(input),
        "constraints": {},
        "sample_size": 0,
        "warmup": transient(Some(input.window.start.as_secs_f64())),
        "cooldown": transient(None),
        "prefer_response_metrics": true,
        "slo": slo(input),
        "confidence": null,
        "warnings": [],
        "profile": profile(input),
        "requests": {"kind": TOOL.0, "seed": input.seed},
        "backend": backend(input),
        "environment": {"kind": TOOL.0, "version": TOOL.1, "certificate": input.figures.certificate},
    })
}

fn span(seen: &[Seen]) -> (u64, u64) {
    let first = seen.iter().map(|seen| seen.start).min().unwrap_or(0);
    (first, seen.iter().map(|seen| seen.end).max().unwrap_or(first))
}

pub(super) fn scheduler_state(input: &ExportInput<'_>, seen: &[Seen]) -> Value {
    let (first, last) = span(seen);
    let Totals { successful, errored, incomplete, total } = totals(&groups(seen));
    let (window_end, last_end) = (input.unix_s(input.window.end.0), input.unix_s(last));
    json!({
        "node_id": 0,
        "num_processes": input.workers,
        "start_time": input.unix_s(0),
        "end_time": last_end,
        "start_requests_time": input.unix_s(first),
        "end_requests_time": last_end,
        "end_queuing_time": window_end,
        "end_queuing_constraints": {},
        "end_processing_time": last_end,
        "end_processing_constraints": {},
        "scheduler_constraints": {},
        "progress": {
            "remaining_requests": null,
            "total_requests": null,
            "remaining_duration": 0.0,
            "total_duration": input.window.end.as_secs_f64(),
            "stop_time": window_end,
        },
        "created_requests": total,
        "queued_requests": 0,
        "pending_requests": 0,
        "processing_requests": 0,
        "processed_requests": total,
        "successful_requests": successful,
        "errored_requests": errored,
        "cancelled_requests": incomplete,
    })
}

/// `GuideLLM`'s average of nothing.
const NOT_MEASURED: f64 = -1.0;

pub(super) fn scheduler_metrics(input: &ExportInput<'_>, seen: &[Seen]) -> Value {
    let (first, last) = span(seen);
    let mean = |value: fn(&Seen) -> u64| {
        let sum: f64 = seen.iter().map(|seen| value(seen) as f64 / 1e9).sum();
        if seen.is_empty() { NOT_MEASURED } else { sum / seen.len() as f64 }
    };
    let late = mean(|seen| seen.start.saturating_sub(seen.due));
    let request_time = mean(Seen::latency);
    json!({
        "start_time": input.unix_s(0),
        "request_start_time": input.unix_s(first),
        "measure_start_time": input.unix_s(input.window.start.0),
        "measure_end_time": input.unix_s(input.window.end.0),
        "request_end_time": input.unix_s(last),
        "end_time": input.unix_s(last),
        "requests_made": totals(&groups(seen)),
        "generation_delay": Summary::default(),
        "queued_time_avg": NOT_MEASURED,
        "resolve_start_delay_avg": NOT_MEASURED,
        "resolve_targeted_start_delay_avg": NOT_MEASURED,
        "request_start_delay_avg": late,
        "request_targeted_start_delay_avg": late,
        "request_time_avg": request_time,
        "resolve_end_delay_avg": NOT_MEASURED,
        "resolve_time_avg": if seen.is_empty() { NOT_MEASURED } else { late + request_time },
        "finalized_delay_avg": NOT_MEASURED,
        "processed_delay_avg": NOT_MEASURED,
        "dataset_incomplete": true,
        "strategy_type": strategy(input)["type_"],
    })
}

/// In `GuideLLM`'s form, where the generator was late.
pub(super) fn warnings(input: &ExportInput<'_>) -> Vec<Value> {
    let Some(certificate) = &input.figures.certificate else {
        return Vec::new();
    };
    let bound = certificate.first_token_bound.p99.as_secs_f64();
    let p50 = input.figures.ttft_ms.p50 / 1e3;
    // A tenth of the median would be visible in a chart.
    if p50 <= 0.0 || bound <= 0.1 * p50 {
        return Vec::new();
    }
    vec![json!({
        "code": "client_late",
        "message": "The load generator may have made the time to first token longer by more than \
                    a tenth of its median.",
        "observed": bound / p50,
        "threshold": 0.1,
        "unit": "ratio",
        "sample_count": certificate.first_token_bound.count,
        "note": "Give the load generator more cores, or lower the load.",
    })]
}
