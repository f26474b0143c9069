//! `GuideLLM` 0.8.1's JSON report (schema version 2) with one benchmark.
//!
//! By the sources of `guidellm` 0.8.1 (`benchmark/schemas/`, `schemas/base/`); a test loads the
//! file with that package. Prompts and outputs are left out (`sample_size` 0), statistics of words
//! and characters are null. The requests are `GuideLLM`'s: those that ended inside the window,
//! whenever they were due.

mod metrics;
mod record;
mod setup;
mod summary;
mod timing;

use std::io::Write;

use serde::Serialize;
use serde_json::Value;
use weir_model::Outcome;
use weir_record::RecordError;

use super::sample::{Seen, ended_inside};
use super::stream::Streamed;
use super::{Export, ExportError, ExportInput};
use metrics::Metrics;
use record::Record;

#[derive(Serialize)]
struct Report<B> {
    metadata: Value,
    config: Value,
    benchmarks: Vec<B>,
    conclusions: [(); 0],
}

#[derive(Serialize)]
struct Benchmark<S, I, E> {
    type_: &'static str,
    config: Value,
    scheduler_state: Value,
    scheduler_metrics: Value,
    metrics: Metrics,
    requests: Requests<S, I, E>,
    warnings: Vec<Value>,
    start_time: f64,
    end_time: f64,
    duration: f64,
    warmup_duration: f64,
    cooldown_duration: f64,
}

#[derive(Serialize)]
struct Requests<S, I, E> {
    successful: S,
    incomplete: I,
    errored: E,
    total: Option<()>,
}

pub(super) fn write(input: &ExportInput<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
    let seen: Vec<Seen> =
        ended_inside(input)?.map(|row| Ok(Seen::of(&row?))).collect::<Result<_, RecordError>>()?;
    let settings = record::settings();
    let scheduler_metrics = setup::scheduler_metrics(input, &seen);
    let at = |key: &str| scheduler_metrics[key].as_f64().unwrap_or_default();
    let (start, end) = (at("measure_start_time"), at("measure_end_time"));
    let records = |outcome: Outcome| {
        let settings = &settings;
        Streamed(move || {
            let rows = ended_inside(input)?;
            let wanted =
                rows.filter(move |row| row.as_ref().map_or(true, |row| row.outcome == outcome));
            Ok(wanted.map(move |row| Ok(Record::of(input, &row?, settings))))
        })
    };
    let benchmark = Benchmark {
        type_: "generative_benchmark",
        config: setup::benchmark(input),
        scheduler_state: setup::scheduler_state(input, &seen),
        metrics: metrics::metrics(input, &seen)?,
        requests: Requests {
            successful: records(Outcome::Done),
            incomplete: records(Outcome::Unfinished),
            errored: records(Outcome::Failed),
            total: None,
        },
        warnings: setup::warnings(input),
        start_time: start,
        end_time: end,
        duration: end - start,
        warmup_duration: start - at("request_start_time"),
        cooldown_duration: at("request_end_time") - end,
        scheduler_metrics,
    };
    let config = setup::scenario(input, &seen);
    drop(seen);
    let report = Report {
        metadata: setup::metadata(),
        config,
        benchmarks: vec![benchmark],
        conclusions: [],
    };
    serde_json::to_writer(out, &report).map_err(|error| Export::GuideLlm.failed(error))
}
