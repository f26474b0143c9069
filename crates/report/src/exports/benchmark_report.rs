//! llm-d-benchmark's Benchmark Report 0.2.1 as YAML, by the rules of its published models
//! (`llmdbenchmark/analysis/benchmark_report/schema_v0_2.py`, `schema_v0_2_1.py`, `base.py`): only
//! known keys, units from its lists.
//!
//! The deployment behind the endpoint is unknown here: the stack is one `generic` component, and
//! accelerators are left out.

use std::io::Write;

use serde_json::{Value, json};
use weir_model::Outcome;

use super::sample::{Seen, exported, sample};
use super::{Export, ExportError, ExportInput, OfferedLoad, SCOPE, TOOL};
use crate::figures::{TimeSketch, quantile};
use weir_record::{Distribution, RecordError};

const VERSION: &str = "0.2.1";
/// Label of the one component.
const ENDPOINT: &str = "endpoint";
/// Definitions, where the schema leaves them to the tool.
const DEFINITIONS: &str = "time_per_output_token = (last - first token) / (output tokens - 1) per \
                           request; inter_token_latency over all gaps between stream events of \
                           completed requests; normalized_time_per_output_token = request latency \
                           / output tokens; token rates are tokens that came inside the window / \
                           window, request_rate completions inside it / window.";

pub(super) fn write(input: &ExportInput<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
    let format = Export::BenchmarkReport.name();
    let seen = sample(input)?;
    let gaps = gaps(input)?;
    let report = json!({
        "version": VERSION,
        "run": run(input, &seen),
        "scenario": {"stack": [component(input)], "load": load(input, &seen)},
        "results": results(input, &seen, &gaps),
    });
    let text = serde_saphyr::to_string(&pruned(report))
        .map_err(|error| ExportError::Unwritable { format, why: error.to_string() })?;
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|source| ExportError::Write { format, source })
}

/// Drops nulls, as llm-d-benchmark does.
fn pruned(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, pruned(value)))
            .collect(),
        Value::Array(values) => values.into_iter().map(pruned).collect(),
        other => other,
    }
}

fn gaps(input: &ExportInput<'_>) -> Result<Distribution, RecordError> {
    let mut gaps = TimeSketch::default();
    for row in exported(input)? {
        let row = row?;
        if row.outcome == Outcome::Done {
            row.chunk_gaps.iter().for_each(|&gap| gaps.add(gap));
        }
    }
    Ok(gaps.distribution_ms())
}

/// Equal for equal settings: `cfg_id` is "a hash of the configuration".
fn digest(of: &Value) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(of.to_string().as_bytes()))
}

fn iso(input: &ExportInput<'_>, ns: u64) -> Option<String> {
    let at = i128::from(input.started_unix_ns) + i128::from(ns);
    jiff::Timestamp::from_nanosecond(at).ok().map(|at| format!("{at:.6}"))
}

fn run(input: &ExportInput<'_>, seen: &[Seen]) -> Value {
    let end = seen.iter().map(|seen| seen.end).max().unwrap_or(0);
    json!({
        "uid": format!("{}-{}-{}", TOOL.0, input.started_unix_ns, input.level),
        "eid": format!("{}-{}", TOOL.0, input.started_unix_ns),
        "time": {
            "start": iso(input, 0),
            "end": iso(input, end),
            "duration": format!("PT{:.6}S", end as f64 / 1e9),
        },
        "description": format!("{} at {}: {}", input.model, input.level, input.load.words()),
        "keywords": [TOOL.0, input.level],
    })
}

fn component(input: &ExportInput<'_>) -> Value {
    let config = json!({"url": input.endpoint, "model": input.model});
    json!({
        "metadata": {"schema_version": "0.0.1", "label": ENDPOINT, "cfg_id": digest(&config)},
        "standardized": {
            "kind": "generic",
            "tool": "openai-compatible-endpoint",
            "tool_version": "unknown",
        },
        "native": {"config": config},
    })
}

/// In tokens. The distribution is only known where all lengths are equal.
fn lengths(values: impl Iterator<Item = u32> + Clone) -> Value {
    let (low, high) = (values.clone().min().unwrap_or(0), values.clone().max().unwrap_or(0));
    let count = values.clone().count().max(1);
    let mean = values.map(f64::from).sum::<f64>() / count as f64;
    if low == high {
        return json!({"distribution": "fixed", "value": low});
    }
    json!({"distribution": "other", "value": mean, "min": low, "max": high})
}

fn load(input: &ExportInput<'_>, seen: &[Seen]) -> Value {
    let config = json!({
        "load": input.load.words(),
        "level": input.level,
        "seed": input.seed,
        "endpoint": input.endpoint,
        "model": input.model,
        "warmup_s": input.window.start.as_secs_f64(),
        "window_s": input.window.seconds(),
    });
    let source = match input.load {
        OfferedLoad::Trace { .. } => "sampled",
        _ => "random",
    };
    let turns = seen.iter().map(|seen| seen.turn + 1).max().unwrap_or(1);
    let multi_turn = (turns > 1)
        .then(|| json!({"enabled": true, "max_turns": {"distribution": "fixed", "value": turns}}));
    let outputs = done(seen).map(|seen| seen.output);
    json!({
        "metadata": {
            "schema_version": "0.0.1",
            "cfg_id": digest(&config),
            "description": format!("{SCOPE} {DEFINITIONS}"),
        },
        "standardized": {
            "tool": TOOL.0,
            "tool_version": TOOL.1,
            "parallelism": input.workers.max(1),
            "source": source,
            "stage": 0,
            "input_seq_len": lengths(seen.iter().map(|seen| seen.prompt)),
            "output_seq_len": (outputs.clone().count() > 0).then(|| lengths(outputs)),
            "multi_turn": multi_turn,
            "rate_qps": input.load.per_s().filter(|&rate| rate > 0.0),
            "concurrency": input.load.users().filter(|&users| users > 0),
        },
        "native": {"config": {"weir": config, "certificate": input.figures.certificate}},
    })
}

fn done(seen: &[Seen]) -> impl Iterator<Item = &Seen> + Clone {
    seen.iter().filter(|seen| seen.outcome == Outcome::Done)
}

/// `Statistics` of exact values; None without any.
fn statistics(units: &str, values: impl Iterator<Item = f64>) -> Option<Value> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let count = values.len() as f64;
    let (min, max) = (*values.first()?, *values.last()?);
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let mut fields = json!({
        "units": units,
        "mean": mean,
        "stddev": libm::sqrt(squares / (count - 1.0).max(1.0)),
        "min": min,
        "max": max,
    });
    for (name, p) in [
        ("p0p1", 0.001),
        ("p1", 0.01),
        ("p5", 0.05),
        ("p10", 0.10),
        ("p25", 0.25),
        ("p50", 0.50),
        ("p75", 0.75),
        ("p90", 0.90),
        ("p95", 0.95),
        ("p99", 0.99),
        ("p99p9", 0.999),
    ] {
        fields[name] = json!(quantile(&values, p));
    }
    Some(fields)
}

fn results(input: &ExportInput<'_>, seen: &[Seen], gaps: &Distribution) -> Value {
    let count = |outcome| seen.iter().filter(|seen| seen.outcome == outcome).count();
    let over =
        |units, value: fn(&Seen) -> Option<f64>| statistics(units, done(seen).filter_map(value));
    let figures = input.figures;
    let rate = |units: &str, of: Option<f64>| of.map(|mean| json!({"units": units, "mean": mean}));
    let (prompt, output) = (figures.prompt_tokens_per_s, figures.output_tokens_per_s);
    let total = prompt.zip(output).map(|(prompt, output)| prompt + output);
    let itl = (gaps.count > 0).then(|| {
        json!({
            "units": "ms/token", "mean": gaps.mean, "stddev": gaps.stddev, "min": gaps.min,
            "p50": gaps.p50, "p90": gaps.p90, "p95": gaps.p95, "p99": gaps.p99, "max": gaps.max,
        })
    });
    let per_token = |seen: &Seen| {
        (seen.output > 0).then(|| seen.latency() as f64 / 1e6 / f64::from(seen.output))
    };
    json!({
        "request_performance": {"aggregate": {
            "requests": {
                "total": seen.len(),
                "failures": count(Outcome::Failed),
                "incomplete": count(Outcome::Unfinished),
                "input_length": over("count", |seen| Some(f64::from(seen.prompt))),
                "output_length": over("count", |seen| Some(f64::from(seen.output))),
            },
            "latency": {
                "time_to_first_token": over("ms", |seen| Some(seen.ttft()? as f64 / 1e6)),
                "normalized_time_per_output_token": over("ms/token", per_token),
                "time_per_output_token":
                    over("ms/token", |seen| Some(seen.mean_gap()? / 1e6)),
                "inter_token_latency": itl,
                "request_latency": over("ms", |seen| Some(seen.latency() as f64 / 1e6)),
            },
            "throughput": {
                "input_token_rate": rate("tokens/s", prompt),
                "output_token_rate": rate("tokens/s", output),
                "total_token_rate": rate("tokens/s", total),
                "request_rate": rate("queries/s", figures.requests_per_s),
            },
        }},
        "observability": hits(input),
    })
}

/// The hit rate that the engine reported in its answers; zero means that it reports none.
fn hits(input: &ExportInput<'_>) -> Option<Value> {
    let percent =
        input.figures.gpu_hit_percent? + input.figures.external_hit_percent.unwrap_or(0.0);
    (percent > 0.0).then(|| {
        json!({"components": [{
            "component_label": ENDPOINT,
            "aggregate": {"cache_hit_rate": {"units": "percent", "mean": percent}},
        }]})
    })
}
