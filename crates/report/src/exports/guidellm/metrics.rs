//! The `metrics` of a benchmark, by the definitions of `guidellm/benchmark/schemas/metrics.py` of
//! 0.8.1.
//!
//! Two differences are deliberate. Latencies leave out requests without a first token (`GuideLLM`
//! writes 0). Token rates use the times of stream events (`GuideLLM` spreads a request's tokens
//! evenly).

use serde::Serialize;
use serde_json::Value;
use weir_model::Outcome;

use super::super::sample::{Seen, ended_inside};
use super::super::{ExportInput, OfferedLoad};
use super::summary::{ByStatus, Status, StatusSummary, Summary, Weighted};
use super::timing::{Grid, Interval, concurrency, rate};
use crate::figures::Stream;
use weir_record::RecordError;

pub(super) type Totals = ByStatus<u64>;

#[derive(Serialize)]
pub(super) struct Metrics {
    request_totals: Totals,
    requests_per_second: StatusSummary,
    request_concurrency: StatusSummary,
    request_latency: StatusSummary,
    request_dispatch_delay: Option<StatusSummary>,
    request_scheduled_latency: Option<StatusSummary>,
    turn_predecessor_delay: Option<StatusSummary>,
    turn_scheduling_delay: Option<StatusSummary>,
    root_dispatch_delay: Option<Summary>,
    request_streaming_iterations_count: StatusSummary,
    prompt_token_count: StatusSummary,
    output_token_count: StatusSummary,
    total_token_count: StatusSummary,
    time_to_first_token_ms: StatusSummary,
    time_to_first_output_token_ms: StatusSummary,
    time_per_output_token_ms: StatusSummary,
    inter_token_latency_ms: StatusSummary,
    time_to_last_round_trip_ms: StatusSummary,
    avg_round_trip_time_ms: StatusSummary,
    prompt_tokens_per_second: StatusSummary,
    output_tokens_per_second: StatusSummary,
    tokens_per_second: StatusSummary,
    output_tokens_per_iteration: StatusSummary,
    iter_tokens_per_iteration: StatusSummary,
    text: Text,
    image: Value,
    video: Value,
    audio: Value,
    tool_call: Value,
    turns: Option<Vec<Turn>>,
    slo_attainment: Option<f64>,
    slo_determined_requests: u64,
    request_goodput: Option<StatusSummary>,
}

/// Texts are not kept: only their tokens are known.
#[derive(Serialize)]
struct Text {
    tokens: Tokens,
    words: Value,
    characters: Value,
}

/// None where no request has a value, as `GuideLLM` writes it.
#[derive(Default, Serialize)]
struct Tokens {
    input: Option<StatusSummary>,
    input_per_second: Option<StatusSummary>,
    input_concurrency: Option<StatusSummary>,
    output: Option<StatusSummary>,
    output_per_second: Option<StatusSummary>,
    output_concurrency: Option<StatusSummary>,
    total: Option<StatusSummary>,
    total_per_second: Option<StatusSummary>,
    total_concurrency: Option<StatusSummary>,
}

#[derive(Serialize)]
struct Turn {
    #[serde(rename = "turn_index")]
    index: u32,
    request_totals: Totals,
    request_latency: StatusSummary,
    prompt_token_count: StatusSummary,
    time_to_first_token_ms: StatusSummary,
    inter_token_latency_ms: StatusSummary,
}

/// Media without requests: every quantity is null.
fn absent(quantities: &[&str]) -> Value {
    const PARTS: [&str; 9] = [
        "input",
        "input_per_second",
        "input_concurrency",
        "output",
        "output_per_second",
        "output_concurrency",
        "total",
        "total_per_second",
        "total_concurrency",
    ];
    let parts: Value = PARTS.iter().map(|&part| (part.to_owned(), Value::Null)).collect();
    quantities.iter().map(|&quantity| (quantity.to_owned(), parts.clone())).collect()
}

pub(super) fn status(outcome: Outcome) -> Status {
    match outcome {
        Outcome::Done => Status::Successful,
        Outcome::Unfinished => Status::Incomplete,
        Outcome::Failed => Status::Errored,
    }
}

pub(super) type Groups<'s> = [Vec<&'s Seen>; 3];

pub(super) fn groups<'s>(seen: impl IntoIterator<Item = &'s Seen>) -> Groups<'s> {
    let mut groups = Groups::default();
    for request in seen {
        groups[status(request.outcome) as usize].push(request);
    }
    groups
}

pub(super) fn totals(groups: &Groups<'_>) -> Totals {
    let [successful, incomplete, errored] = groups.each_ref().map(|group| group.len() as u64);
    Totals { successful, incomplete, errored, total: successful + incomplete + errored }
}

fn values(groups: &Groups<'_>, value: impl Fn(&Seen) -> Option<f64>) -> StatusSummary {
    let lists =
        groups.each_ref().map(|group| group.iter().filter_map(|request| value(request)).collect());
    ByStatus::of(lists, Summary::of)
}

fn weighted(groups: &Groups<'_>, value: impl Fn(&Seen) -> Option<Weighted>) -> StatusSummary {
    let lists =
        groups.each_ref().map(|group| group.iter().filter_map(|request| value(request)).collect());
    ByStatus::of(lists, |values| Summary::weighted(values, None))
}

fn several(groups: &Groups<'_>, value: impl Fn(&Seen) -> Vec<Weighted>) -> StatusSummary {
    let lists =
        groups.each_ref().map(|group| group.iter().flat_map(|request| value(request)).collect());
    ByStatus::of(lists, |values| Summary::weighted(values, None))
}

fn rates(lists: [Vec<Weighted>; 3], window: Option<(f64, f64)>) -> StatusSummary {
    ByStatus::of(lists, |events| rate(events, window))
}

/// From sending to the last token, per token, first token included.
pub(super) fn time_per_output_token_ms(seen: &Seen) -> Option<f64> {
    let span = seen.last.unwrap_or(seen.end).saturating_sub(seen.start);
    (seen.output > 0).then(|| span as f64 / 1e6 / f64::from(seen.output))
}

/// Tokens after the first per stream event after the first.
pub(super) fn tokens_per_later_event(seen: &Seen) -> Option<f64> {
    (seen.output > 1 && seen.chunks > 1)
        .then(|| f64::from(seen.output - 1) / (seen.chunks - 1) as f64)
}

fn per_event(seen: &Seen) -> Vec<Weighted> {
    match tokens_per_later_event(seen) {
        Some(later) => vec![(1.0, 1.0), (later, (seen.chunks - 1) as f64)],
        None => vec![(f64::from(seen.output), 1.0)],
    }
}

pub(super) fn metrics(input: &ExportInput<'_>, seen: &[Seen]) -> Result<Metrics, RecordError> {
    let groups = groups(seen);
    let window = (input.unix_s(input.window.start.0), input.unix_s(input.window.end.0));
    let events = |at: fn(&Seen) -> u64, weight: fn(&Seen) -> f64| {
        groups.each_ref().map(|group| {
            group.iter().map(|seen| (input.unix_s(at(seen)), weight(seen))).collect::<Vec<_>>()
        })
    };
    // Closed loops have no schedule to lag behind.
    let is_open = !matches!(input.load, OfferedLoad::Users { .. });
    let scheduled =
        |value: fn(&Seen) -> f64| is_open.then(|| values(&groups, |seen| Some(value(seen))));
    let prompts = events(|seen| seen.first.unwrap_or(seen.end), |seen| f64::from(seen.prompt));
    let outputs = output_events(input, window)?;
    let both = std::array::from_fn(|at| [prompts[at].clone(), outputs[at].clone()].concat());
    let goodput = Goodput::of(input, &groups);
    Ok(Metrics {
        request_totals: totals(&groups),
        requests_per_second: rates(events(|seen| seen.end, |_| 1.0), Some(window)),
        request_concurrency: under_way(input, &groups, Some(window), |_| 1.0),
        request_latency: values(&groups, |seen| Some(seen.latency() as f64 / 1e9)),
        request_dispatch_delay: scheduled(dispatch_delay),
        request_scheduled_latency: scheduled(|seen| seen.end.saturating_sub(seen.due) as f64 / 1e9),
        // A turn is due after the end of the one before it: none waits past it.
        turn_predecessor_delay: scheduled(|_| 0.0),
        turn_scheduling_delay: scheduled(dispatch_delay),
        root_dispatch_delay: is_open.then(|| roots(seen)).filter(|delays| delays.count > 0),
        request_streaming_iterations_count: values(&groups, |seen| Some(seen.chunks as f64)),
        prompt_token_count: values(&groups, |seen| Some(f64::from(seen.prompt))),
        output_token_count: values(&groups, |seen| Some(f64::from(seen.output))),
        total_token_count: values(&groups, |seen| Some(total_tokens(seen))),
        time_to_first_token_ms: values(&groups, ttft_ms),
        time_to_first_output_token_ms: values(&groups, ttft_ms),
        time_per_output_token_ms: weighted(&groups, |seen| {
            Some((time_per_output_token_ms(seen)?, f64::from(seen.output)))
        }),
        inter_token_latency_ms: weighted(&groups, itl_ms),
        time_to_last_round_trip_ms: values(&groups, |_| None),
        avg_round_trip_time_ms: values(&groups, |_| None),
        prompt_tokens_per_second: rates(prompts, Some(window)),
        output_tokens_per_second: rates(outputs, Some(window)),
        tokens_per_second: rates(both, Some(window)),
        output_tokens_per_iteration: several(&groups, per_event),
        iter_tokens_per_iteration: weighted(&groups, |seen| {
            Some((tokens_per_later_event(seen)?, (seen.chunks - 1) as f64))
        }),
        text: Text {
            tokens: if seen.is_empty() { Tokens::default() } else { tokens(input, &groups) },
            words: Value::Null,
            characters: Value::Null,
        },
        image: absent(&["tokens", "images", "pixels", "bytes"]),
        video: absent(&["tokens", "frames", "seconds", "bytes"]),
        audio: absent(&["tokens", "samples", "seconds", "bytes"]),
        tool_call: absent(&["tokens", "mixed_tokens", "count"]),
        turns: turns(seen),
        slo_attainment: goodput.as_ref().map(|goodput| goodput.attainment),
        slo_determined_requests: goodput.as_ref().map_or(0, |goodput| goodput.determined),
        request_goodput: goodput.map(|goodput| rates(goodput.conforming, Some(window))),
    })
}

fn dispatch_delay(seen: &Seen) -> f64 {
    seen.start.saturating_sub(seen.due) as f64 / 1e9
}

fn total_tokens(seen: &Seen) -> f64 {
    f64::from(seen.prompt) + f64::from(seen.output)
}

fn ttft_ms(seen: &Seen) -> Option<f64> {
    Some(seen.ttft()? as f64 / 1e6)
}

fn itl_ms(seen: &Seen) -> Option<Weighted> {
    Some((seen.mean_gap()? / 1e6, f64::from(seen.output - 1)))
}

fn roots(seen: &[Seen]) -> Summary {
    Summary::of(seen.iter().filter(|seen| seen.turn == 0).map(dispatch_delay).collect())
}

fn under_way(
    input: &ExportInput<'_>,
    groups: &Groups<'_>,
    window: Option<(f64, f64)>,
    weight: impl Fn(&Seen) -> f64,
) -> StatusSummary {
    let lists = groups.each_ref().map(|group| {
        let interval = |seen: &&Seen| -> Interval {
            (input.unix_s(seen.start), input.unix_s(seen.end), weight(seen))
        };
        group.iter().map(interval).collect::<Vec<_>>()
    });
    ByStatus::of(lists, |intervals| concurrency(intervals, window))
}

/// At the times of the stream events that brought them.
fn output_events(
    input: &ExportInput<'_>,
    window: (f64, f64),
) -> Result<[Vec<Weighted>; 3], RecordError> {
    let mut grids = Status::ALL.map(|_| Grid::new(window));
    for row in ended_inside(input)? {
        let row = row?;
        let grid = &mut grids[status(row.outcome) as usize];
        for (at, tokens) in Stream::of(&row).arrivals() {
            if input.window.contains(at) {
                grid.add(input.unix_s(at.0), tokens);
            }
        }
    }
    Ok(grids.map(|grid| grid.events()))
}

/// Per request, per second (all at the request's end) and in flight.
fn tokens(input: &ExportInput<'_>, groups: &Groups<'_>) -> Tokens {
    let prompt = |seen: &Seen| f64::from(seen.prompt);
    let output = |seen: &Seen| f64::from(seen.output);
    let ends = |weight: fn(&Seen) -> f64| {
        let at_end = |seen: &&Seen| (input.unix_s(seen.end), weight(seen));
        rates(groups.each_ref().map(|group| group.iter().map(at_end).collect()), None)
    };
    // `GuideLLM`'s "total" joins the lists of prompts and of outputs without adding them up.
    let pooled = groups.each_ref().map(|group| {
        let prompts = group.iter().map(|seen| prompt(seen));
        prompts.chain(group.iter().map(|seen| output(seen))).collect::<Vec<_>>()
    });
    Tokens {
        input: Some(values(groups, |seen| Some(prompt(seen)))),
        input_per_second: Some(ends(|seen| f64::from(seen.prompt))),
        input_concurrency: Some(under_way(input, groups, None, prompt)),
        output: Some(values(groups, |seen| Some(output(seen)))),
        output_per_second: Some(ends(|seen| f64::from(seen.output))),
        output_concurrency: Some(under_way(input, groups, None, output)),
        total: Some(ByStatus::of(pooled, Summary::of)),
        total_per_second: Some(ends(total_tokens)),
        total_concurrency: Some(under_way(input, groups, None, total_tokens)),
    }
}

/// None where all requests are first turns.
fn turns(seen: &[Seen]) -> Option<Vec<Turn>> {
    let last = seen.iter().map(|seen| seen.turn).max().filter(|&last| last > 0)?;
    let mut by_turn: Vec<Vec<&Seen>> = vec![Vec::new(); last as usize + 1];
    for request in seen {
        by_turn[request.turn as usize].push(request);
    }
    let turns = by_turn.into_iter().enumerate().filter(|(_, requests)| !requests.is_empty());
    let turn = |(index, requests): (usize, Vec<&Seen>)| {
        let groups = groups(requests);
        Turn {
            index: index as u32,
            request_totals: totals(&groups),
            request_latency: values(&groups, |seen| Some(seen.latency() as f64 / 1e9)),
            prompt_token_count: values(&groups, |seen| Some(f64::from(seen.prompt))),
            time_to_first_token_ms: values(&groups, ttft_ms),
            inter_token_latency_ms: weighted(&groups, itl_ms),
        }
    };
    Some(turns.map(turn).collect())
}

struct Goodput {
    attainment: f64,
    determined: u64,
    conforming: [Vec<Weighted>; 3],
}

impl Goodput {
    /// By `GuideLLM`'s rule: failed requests miss; requests without a value that an objective needs
    /// are left out.
    fn of(input: &ExportInput<'_>, groups: &Groups<'_>) -> Option<Self> {
        let (slo, [successful, _, errored]) = (input.slo, groups);
        let mut determined = errored.len() as u64;
        let mut conforming = Vec::new();
        for seen in successful {
            let measured = [
                (slo.ttft, ttft_ms(seen)),
                (slo.tpot, itl_ms(seen).map(|value| value.0)),
                (slo.e2e, Some(seen.latency() as f64 / 1e6)),
            ];
            let asked =
                || measured.iter().filter_map(|(most, value)| Some((most.as_ref()?, value)));
            if asked().any(|(_, value)| value.is_none()) {
                continue;
            }
            determined += 1;
            let meets = |(most, value): (&weir_model::Nanos, &Option<f64>)| {
                value.is_some_and(|value| value <= most.as_millis_f64())
            };
            if asked().all(meets) {
                conforming.push((input.unix_s(seen.end), 1.0));
            }
        }
        (input.slo.binds() && determined > 0).then(|| Self {
            attainment: conforming.len() as f64 / determined as f64,
            determined,
            conforming: [conforming, Vec::new(), Vec::new()],
        })
    }
}
