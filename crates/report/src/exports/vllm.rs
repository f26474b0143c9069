//! The result file of `vllm bench serve` (vLLM 0.32) with `--save-detailed`: keys, units and
//! definitions of its `benchmark` and `calculate_metrics`.
//!
//! TTFT, ITL and latency count from sending, latency to the last stream event; TPOT = (latency -
//! TTFT) / (tokens - 1); ITL over the gaps between stream events of completed requests; deviations
//! with n; percentiles interpolated (type 7). Throughput is over `duration`: from the start of the
//! window until the last of these requests ended, as vLLM's.
//!
//! Differences: unknown values are null, where vLLM writes 0. `queue_times` is the wait from the
//! due time to sending; `start_times` count from the start of the cell. Unfinished requests are
//! left out. Keys that vLLM lacks stand under `weir`.

use std::io::Write;

use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value, json};
use weir_model::{Nanos, Outcome, RequestRow};
use weir_record::{Distribution, RecordError};

use super::sample::{Seen, exported, sample};
use super::stream::Streamed;
use super::{Export, ExportError, ExportInput, OfferedLoad, SCOPE, TOOL};
use crate::figures::{Stream, TimeSketch, distribution};

const NS_PER_S: u64 = 1_000_000_000;

pub(super) fn write(input: &ExportInput<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
    let seen = sample(input)?;
    let seen: Vec<Seen> =
        seen.into_iter().filter(|seen| seen.outcome != Outcome::Unfinished).collect();
    let seconds = Seconds::of(input, &seen)?;
    let mut fields = setup(input, seen.len());
    fields.extend(totals(input, &seen, &seconds));
    latencies(&mut fields, &seen, &seconds);
    let failed = |error| Export::VllmBench.failed(error);
    let mut serializer = serde_json::Serializer::new(out);
    let mut file = serializer.serialize_map(None).map_err(failed)?;
    for (key, value) in &fields {
        file.serialize_entry(key, value).map_err(failed)?;
    }
    detailed(input, &seen, &mut file).map_err(failed)?;
    file.end().map_err(failed)
}

/// The keys in which vLLM records its arguments.
fn setup(input: &ExportInput<'_>, requests: usize) -> Map<String, Value> {
    let date = jiff::Timestamp::from_nanosecond(i128::from(input.started_unix_ns))
        .map_or(String::new(), |at| at.strftime("%Y%m%d-%H%M%S").to_string());
    let (rate, burstiness) = match input.load {
        OfferedLoad::Constant { per_s } => (json!(per_s), "inf".into()),
        OfferedLoad::Poisson { per_s } => (json!(per_s), json!(1.0)),
        OfferedLoad::Gamma { per_s, shape } => (json!(per_s), json!(shape)),
        OfferedLoad::Users { .. } | OfferedLoad::Trace { .. } => (json!("inf"), json!(1.0)),
    };
    let fields = json!({
        "date": date,
        "endpoint_type": "openai",
        "backend": "openai",
        "label": input.level,
        "model_id": input.model,
        "tokenizer_id": input.model,
        "num_prompts": requests,
        "request_rate": rate,
        "burstiness": burstiness,
        "max_concurrency": input.load.users(),
        "weir": {
            "version": TOOL.1,
            "endpoint": input.endpoint,
            "load": input.load.words(),
            "seed": input.seed,
            "scope": SCOPE,
            "window_s": input.window.seconds(),
            "output_tokens_per_s_of_window": input.figures.output_tokens_per_s,
            "open_requests": input.figures.open,
            "certificate": input.figures.certificate,
        },
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn done(seen: &[Seen]) -> impl Iterator<Item = &Seen> {
    seen.iter().filter(|seen| seen.outcome == Outcome::Done)
}

fn totals(input: &ExportInput<'_>, seen: &[Seen], seconds: &Seconds) -> Map<String, Value> {
    let last_end = seen.iter().map(|seen| seen.end).max().unwrap_or(input.window.end.0);
    let duration = Nanos(last_end).saturating_sub(input.window.start).as_secs_f64();
    let completed = done(seen).count();
    // Rates without a request are unknown, not zero.
    let rate = |amount: f64| (completed > 0 && duration > 0.0).then(|| amount / duration);
    let prompt: u64 = done(seen).map(|seen| u64::from(seen.prompt)).sum();
    let output: u64 = done(seen).map(|seen| u64::from(seen.output)).sum();
    let goodput = input
        .slo
        .binds()
        .then(|| rate(done(seen).filter(|seen| meets(input, seen)).count() as f64));
    Map::from_iter([
        ("duration".to_owned(), json!(duration)),
        ("completed".to_owned(), json!(completed)),
        ("failed".to_owned(), json!(seen.len() - completed)),
        ("total_input_tokens".to_owned(), json!(prompt)),
        ("total_output_tokens".to_owned(), json!(output)),
        ("request_throughput".to_owned(), json!(rate(completed as f64))),
        ("request_goodput".to_owned(), json!(goodput)),
        ("output_throughput".to_owned(), json!(rate(output as f64))),
        ("total_token_throughput".to_owned(), json!(rate((prompt + output) as f64))),
        (
            "max_output_tokens_per_s".to_owned(),
            json!((completed > 0).then(|| seconds.most_tokens())),
        ),
        (
            "max_concurrent_requests".to_owned(),
            json!((completed > 0).then(|| seconds.most_requests())),
        ),
        ("rtfx".to_owned(), json!(0.0)),
    ])
}

/// From sending to the last stream event.
fn latency(seen: &Seen) -> Option<u64> {
    Some(seen.last?.saturating_sub(seen.start))
}

/// None with fewer than two tokens.
fn tpot(seen: &Seen) -> Option<f64> {
    let after = latency(seen)?.saturating_sub(seen.ttft()?);
    (seen.output > 1).then(|| after as f64 / f64::from(seen.output - 1))
}

fn meets(input: &ExportInput<'_>, seen: &Seen) -> bool {
    let slo = input.slo;
    slo.ttft.is_none_or(|most| seen.ttft().is_some_and(|ttft| ttft <= most.0))
        && slo.tpot.is_none_or(|most| tpot(seen).unwrap_or(0.0) <= most.0 as f64)
        && slo.e2e.is_none_or(|most| latency(seen).is_some_and(|time| time <= most.0))
}

fn latencies(fields: &mut Map<String, Value>, seen: &[Seen], seconds: &Seconds) {
    let over = |value: fn(&Seen) -> Option<f64>| {
        let mut values: Vec<f64> = done(seen).filter_map(|seen| Some(value(seen)? / 1e6)).collect();
        distribution(&mut values)
    };
    for (name, of) in [
        ("ttft", over(|seen| seen.ttft().map(|ns| ns as f64))),
        ("tpot", over(tpot)),
        ("itl", seconds.gaps.distribution_ms()),
        ("e2el", over(|seen| latency(seen).map(|ns| ns as f64))),
        ("client_queue_time", over(|seen| Some(seen.start.saturating_sub(seen.due) as f64))),
    ] {
        fields.extend(statistics(name, &of));
    }
}

fn statistics(name: &str, of: &Distribution) -> [(String, Value); 6] {
    let key = |statistic: &str| format!("{statistic}_{name}_ms");
    let seen = |value: f64| json!((of.count > 0).then_some(value));
    // NumPy's deviation divides by n.
    let n = of.count.max(1) as f64;
    [
        (key("mean"), seen(of.mean)),
        (key("median"), seen(of.p50)),
        (key("std"), seen(of.stddev * libm::sqrt((n - 1.0) / n))),
        (key("p90"), seen(of.p90)),
        (key("p95"), seen(of.p95)),
        (key("p99"), seen(of.p99)),
    ]
}

/// Lists with a value per request, in the order the requests ended.
fn detailed<M: SerializeMap>(
    input: &ExportInput<'_>,
    seen: &[Seen],
    file: &mut M,
) -> Result<(), M::Error> {
    let each = |value: fn(&Seen) -> Option<f64>| {
        Streamed(move || Ok(seen.iter().map(move |seen| Ok(value(seen)))))
    };
    let count = |value: fn(&Seen) -> u32| {
        Streamed(move || Ok(seen.iter().map(move |seen| Ok(value(seen)))))
    };
    file.serialize_entry("input_lens", &count(|seen| seen.prompt))?;
    file.serialize_entry(
        "output_lens",
        &count(|seen| if seen.outcome == Outcome::Done { seen.output } else { 0 }),
    )?;
    file.serialize_entry("ttfts", &each(|seen| seen.ttft().map(|ns| ns as f64 / 1e9)))?;
    let gaps = |row: &RequestRow| -> Vec<f64> {
        row.chunk_gaps.iter().map(|gap| gap.as_secs_f64()).collect()
    };
    file.serialize_entry("itls", &Streamed(|| ended(input, gaps)))?;
    file.serialize_entry("latencies", &each(|seen| latency(seen).map(|ns| ns as f64 / 1e9)))?;
    file.serialize_entry("start_times", &each(|seen| Some(seen.start as f64 / 1e9)))?;
    let queued = |seen: &Seen| Some(seen.start.saturating_sub(seen.due) as f64 / 1e9);
    file.serialize_entry("queue_times", &each(queued))?;
    // Texts are not kept: an empty one per request keeps the lists parallel.
    file.serialize_entry("generated_texts", &Streamed(|| Ok(seen.iter().map(|_| Ok("")))))?;
    // An empty text means success.
    let error = |row: &RequestRow| match row.outcome {
        Outcome::Done => String::new(),
        _ => row.error.clone().unwrap_or_else(|| row.outcome.name().to_owned()),
    };
    file.serialize_entry("errors", &Streamed(|| ended(input, error)))
}

fn ended<'a, T>(
    input: &ExportInput<'a>,
    value: impl Fn(&RequestRow) -> T + 'a,
) -> Result<impl Iterator<Item = Result<T, RecordError>> + 'a, RecordError>
where
    T: 'a,
{
    let rows = exported(input)?;
    let ended =
        rows.filter(|row| row.as_ref().map_or(true, |row| row.outcome != Outcome::Unfinished));
    Ok(ended.map(move |row| Ok(value(&row?))))
}

/// Of completed requests: stream events and requests in flight in each second, and gaps between
/// events.
struct Seconds {
    events: Vec<u64>,
    // Change from one second to the next in the number of requests that touch a second.
    changes: Vec<i64>,
    gaps: TimeSketch,
}

impl Seconds {
    fn of(input: &ExportInput<'_>, seen: &[Seen]) -> Result<Self, RecordError> {
        let origin = done(seen).map(|seen| seen.start).min().unwrap_or(0);
        let last = done(seen).filter_map(|seen| seen.last).max().unwrap_or(origin);
        let length = (last.saturating_sub(origin) / NS_PER_S) as usize + 2;
        let mut seconds = Self {
            events: vec![0; length],
            changes: vec![0; length + 1],
            gaps: TimeSketch::default(),
        };
        let place = |at: u64| ((at.saturating_sub(origin) / NS_PER_S) as usize).min(length - 1);
        for request in done(seen) {
            seconds.changes[place(request.start)] += 1;
            seconds.changes[place(request.last.unwrap_or(request.start)) + 1] -= 1;
        }
        for row in exported(input)? {
            let row = row?;
            if row.outcome != Outcome::Done {
                continue;
            }
            row.chunk_gaps.iter().for_each(|&gap| seconds.gaps.add(gap));
            for (Nanos(at), _) in Stream::of(&row).arrivals() {
                seconds.events[place(at)] += 1;
            }
        }
        Ok(seconds)
    }

    fn most_tokens(&self) -> f64 {
        self.events.iter().copied().max().unwrap_or(0) as f64
    }

    fn most_requests(&self) -> i64 {
        let in_flight = self.changes.iter().scan(0, |sum, change| {
            *sum += change;
            Some(*sum)
        });
        in_flight.max().unwrap_or(0)
    }
}
