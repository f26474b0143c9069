//! `CellFigures` of the measured set and window, and the throughput of batches within it.

use weir_model::{Nanos, Outcome, RowContradiction, StepRow, Window};
use weir_record::{CellFigures, Distribution, GuideLlmFigures};
use weir_spec::cost::hour_price;
use weir_spec::plan::{Cell, Plan, Slo};

use super::columns::{NEVER, RequestColumns};
use super::decoded::decoded;
use super::distribution::{distribution, weighted_distribution};
use super::flow::{check_rows, check_tokens};
use super::output_tokens::{OutputTokens, batch_of};
use super::replicas::replicas;
use super::streams::Streams;

#[derive(Debug, Clone, Copy)]
pub struct Measure<'a> {
    pub window: Window,
    pub slo: &'a Slo,
    /// None without prices.
    pub hour_price: Option<f64>,
}

impl<'a> Measure<'a> {
    pub fn of(plan: &'a Plan, cell: &Cell, window: Window) -> Self {
        let deployment = &plan.deployments[cell.deployment];
        let hour_price = hour_price(&plan.prices, deployment, &deployment.arms[cell.arm]);
        Self { window, slo: &plan.slo, hour_price }
    }
}

/// The figures of a simulated cell, after all rows were checked against each other. Without passes,
/// the tokens between a request's first and last are spread evenly.
///
/// Latencies count from `due`, so that a late load generator does not hide the wait; residence (in
/// flight) counts from `start`.
pub fn summarise(
    columns: &RequestColumns,
    steps: &[StepRow],
    measure: &Measure<'_>,
) -> Result<CellFigures, RowContradiction> {
    check_rows(columns)?;
    check_tokens(columns, steps)?;
    let window = measure.window;
    if steps.is_empty() {
        return figures(columns, measure, interpolated_output_tokens(columns, window));
    }
    let inside = |step: &StepRow| window.contains(step.end);
    let mut tokens = first_tokens(columns, window);
    let done = decoded(columns, steps, |row| columns.is_done(row));
    let decoding: u64 = steps.iter().filter(|step| inside(step)).map(decoding_of).sum();
    let completed =
        steps.iter().zip(&done).filter(|(step, _)| inside(step)).map(|(_, tokens)| tokens).sum();
    tokens.add(Outcome::Done, completed);
    // A request that the simulator refused has no token: the rest is of open ones.
    tokens.add(Outcome::Unfinished, decoding.saturating_sub(completed));
    let measured =
        decoded(columns, steps, |row| columns.is_done(row) && columns.is_measured(row, window));
    let figures = figures(columns, measure, tokens)?;
    let in_window = steps.iter().filter(|step| inside(step));
    let guidellm = GuideLlmFigures {
        itl_ms: token_gaps(in_window.clone().map(|step| (step, decoding_of(step)))),
        ..figures.guidellm
    };
    Ok(CellFigures {
        itl_ms: token_gaps(steps.iter().zip(measured)),
        passes: in_window.count() as u64,
        guidellm,
        ..figures
    })
}

/// The figures of a live cell, after all rows and streams were checked against each other. Each
/// token counts at the time of its stream event. `streams` must hold all requests of `columns`, cut
/// to the window of `measure`.
pub fn summarise_streams(
    columns: &RequestColumns,
    streams: &Streams,
    measure: &Measure<'_>,
) -> Result<CellFigures, RowContradiction> {
    check_rows(columns)?;
    streams.check(columns.len())?;
    let measure = Measure { window: streams.window(), ..*measure };
    let figures = figures(columns, &measure, streams.tokens())?;
    let guidellm = GuideLlmFigures { itl_ms: streams.gaps_in_window_ms(), ..figures.guidellm };
    let replicas = replicas(columns, measure.window);
    Ok(CellFigures { itl_ms: streams.gaps_ms(), guidellm, replicas, ..figures })
}

/// All figures that need no token time but the first.
fn figures(
    columns: &RequestColumns,
    measure: &Measure<'_>,
    tokens: OutputTokens,
) -> Result<CellFigures, RowContradiction> {
    let window = measure.window;
    if window.end <= window.start {
        return Err(RowContradiction::EmptyWindow {
            start_ns: window.start.0,
            end_ns: window.end.0,
        });
    }
    let seconds = window.seconds();
    let per_s = |amount: u64| amount as f64 / seconds;
    let mut set = MeasuredSet::of(columns, measure);
    let ended = EndedInside::of(columns, window);
    let mean_in_flight = in_flight_ns(columns, window) as f64 / (seconds * 1e9);
    // Where nothing completed, rates of work are unknown, not zero.
    let has_work = set.completed > 0 || ended.completed > 0 || tokens.completed > 0;
    let work = |amount: u64| has_work.then(|| per_s(amount));
    let output_tokens_per_s = work(tokens.completed);
    let hits =
        |hit: u64| (set.prompt_tokens > 0).then(|| 100.0 * hit as f64 / set.prompt_tokens as f64);
    let asked = measure.slo.binds() && set.measured() > 0;
    Ok(CellFigures {
        window_s: seconds,
        measured: set.measured(),
        completed: set.completed,
        failed: set.failed,
        open: set.open,
        output_tokens_per_s,
        failed_output_tokens_per_s: (set.failed > 0 || tokens.failed > 0 || has_work)
            .then(|| per_s(tokens.failed)),
        completed_output_tokens_per_s: work(ended.output_tokens),
        per_request_output_tokens_per_s: (set.completed > 0)
            .then(|| set.request_rates / set.completed as f64 * mean_in_flight),
        prompt_tokens_per_s: work(ended.prompt_tokens),
        requests_per_s: work(ended.completed),
        mean_in_flight,
        goodput_requests_per_s: asked.then(|| per_s(set.good)),
        goodput_share: asked.then(|| set.good as f64 / set.measured() as f64),
        gpu_hit_percent: hits(set.gpu_hit_tokens),
        external_hit_percent: hits(set.external_hit_tokens),
        cost_per_million_output_tokens: output_tokens_per_s.and_then(|rate| cost(measure, rate)),
        guidellm: ended.figures(has_work, per_s(tokens.completed + tokens.failed + tokens.open)),
        ttft_ms: distribution(&mut set.ttft_ms),
        tpot_ms: distribution(&mut set.tpot_ms),
        e2e_ms: distribution(&mut set.e2e_ms),
        // Token gaps, passes, causes of failures and the certificate come from elsewhere. Requests
        // that were never sent have no rows: the caller adds their numbers.
        ..CellFigures::default()
    })
}

/// Output tokens per second of `batches` equal parts of the window: those of completed requests,
/// from the passes where there are any, else from the ends of requests.
pub fn throughput_batches(
    columns: &RequestColumns,
    steps: &[StepRow],
    window: Window,
    batches: usize,
) -> Vec<f64> {
    if batches == 0 || window.length() == Nanos::ZERO {
        return Vec::new();
    }
    let mut tokens = vec![0_u64; batches];
    let mut add = |at: Nanos, count: u64| {
        if let Some(batch) = batch_of(at, window, batches) {
            tokens[batch] += count;
        }
    };
    let done = (0..columns.len()).filter(|&row| columns.is_done(row));
    if steps.is_empty() {
        for row in done {
            add(Nanos(columns.end[row]), u64::from(columns.output_tokens[row]));
        }
    } else {
        for (step, count) in steps.iter().zip(decoded(columns, steps, |row| columns.is_done(row))) {
            add(step.end, count);
        }
        for row in done {
            add(Nanos(columns.first_token[row]), 1);
        }
    }
    let seconds = window.seconds() / batches as f64;
    tokens.into_iter().map(|count| count as f64 / seconds).collect()
}

/// Over the requests that were due inside the window.
#[derive(Default)]
struct MeasuredSet {
    completed: u64,
    failed: u64,
    open: u64,
    good: u64,
    prompt_tokens: u64,
    gpu_hit_tokens: u64,
    external_hit_tokens: u64,
    request_rates: f64,
    ttft_ms: Vec<f64>,
    tpot_ms: Vec<f64>,
    e2e_ms: Vec<f64>,
}

impl MeasuredSet {
    fn of(columns: &RequestColumns, measure: &Measure<'_>) -> Self {
        let mut set = Self::default();
        for row in (0..columns.len()).filter(|&row| columns.is_measured(row, measure.window)) {
            match columns.outcome[row] {
                Outcome::Done => set.add(columns, row, measure.slo),
                Outcome::Failed => set.failed += 1,
                Outcome::Unfinished => set.open += 1,
            }
        }
        set
    }

    fn add(&mut self, columns: &RequestColumns, row: usize, slo: &Slo) {
        let (due, end) = (columns.due[row], columns.end[row]);
        let first = columns.first_token[row];
        let tokens = columns.output_tokens[row];
        let (ttft, e2e) = (first - due, end - due);
        let tpot = (tokens > 1).then(|| (end - first) as f64 / f64::from(tokens - 1));
        self.completed += 1;
        self.prompt_tokens += u64::from(columns.prompt_tokens[row]);
        self.gpu_hit_tokens += u64::from(columns.gpu_hit_tokens[row]);
        self.external_hit_tokens += u64::from(columns.external_hit_tokens[row]);
        self.ttft_ms.push(ttft as f64 / 1e6);
        self.e2e_ms.push(e2e as f64 / 1e6);
        self.tpot_ms.extend(tpot.map(|ns| ns / 1e6));
        if e2e > 0 {
            self.request_rates += f64::from(tokens) / (e2e as f64 / 1e9);
        }
        let meets = slo.ttft.is_none_or(|most| ttft <= most.0)
            && slo.e2e.is_none_or(|most| e2e <= most.0)
            && slo.tpot.is_none_or(|most| tpot.is_none_or(|ns| ns <= most.0 as f64));
        self.good += u64::from(meets);
    }

    const fn measured(&self) -> u64 {
        self.completed + self.failed + self.open
    }
}

/// Over the completed requests that ended inside the window, whenever they were due.
#[derive(Default)]
struct EndedInside {
    completed: u64,
    prompt_tokens: u64,
    output_tokens: u64,
    ttft_ms: Vec<f64>,
    guidellm_tpot_ms: Vec<f64>,
}

impl EndedInside {
    fn of(columns: &RequestColumns, window: Window) -> Self {
        let mut sums = Self::default();
        let is_inside =
            |row: &usize| columns.is_done(*row) && window.contains(Nanos(columns.end[*row]));
        for row in (0..columns.len()).filter(is_inside) {
            let tokens = columns.output_tokens[row];
            sums.completed += 1;
            sums.prompt_tokens += u64::from(columns.prompt_tokens[row]);
            sums.output_tokens += u64::from(tokens);
            sums.ttft_ms.push((columns.first_token[row] - columns.due[row]) as f64 / 1e6);
            let sent = (columns.end[row] - columns.start[row]) as f64;
            sums.guidellm_tpot_ms.push(sent / f64::from(tokens) / 1e6);
        }
        sums
    }

    fn figures(mut self, has_work: bool, output_tokens_per_s: f64) -> GuideLlmFigures {
        GuideLlmFigures {
            output_tokens_per_s: has_work.then_some(output_tokens_per_s),
            ttft_ms: distribution(&mut self.ttft_ms),
            tpot_ms: distribution(&mut self.guidellm_tpot_ms),
            itl_ms: Distribution::default(),
        }
    }
}

/// Request-nanoseconds in flight inside the window.
fn in_flight_ns(columns: &RequestColumns, window: Window) -> u128 {
    let inside = |(start, end): (&u64, &u64)| {
        let from = (*start).max(window.start.0);
        let to = (*end).min(window.end.0);
        u128::from(to.saturating_sub(from))
    };
    columns.start.iter().zip(&columns.end).map(inside).sum()
}

fn first_tokens(columns: &RequestColumns, window: Window) -> OutputTokens {
    let mut tokens = OutputTokens::default();
    for (row, &first) in columns.first_token.iter().enumerate() {
        if first != NEVER && window.contains(Nanos(first)) {
            tokens.add(columns.outcome[row], 1);
        }
    }
    tokens
}

/// Tokens inside the window where only the first and the last have times: those between are spread
/// evenly.
fn interpolated_output_tokens(columns: &RequestColumns, window: Window) -> OutputTokens {
    let mut total = OutputTokens::default();
    for row in 0..columns.len() {
        let (first, outcome) = (columns.first_token[row], columns.outcome[row]);
        let tokens = u64::from(columns.output_tokens[row]);
        if first == NEVER {
            continue;
        }
        let gaps = tokens - 1;
        let span = columns.end[row] - first;
        if gaps == 0 || span == 0 {
            total.add(outcome, if window.contains(Nanos(first)) { tokens } else { 0 });
            continue;
        }
        // Token i comes at first + i * span / gaps; count those before a time.
        let before = |at: u64| match at.checked_sub(first) {
            None | Some(0) => 0,
            Some(since) => {
                let passed = (u128::from(since) * u128::from(gaps)).div_ceil(u128::from(span));
                (passed as u64).min(tokens)
            }
        };
        total.add(outcome, before(window.end.0) - before(window.start.0));
    }
    total
}

fn decoding_of(step: &StepRow) -> u64 {
    u64::from(step.decoding)
}

/// Each gap with its number of requests.
fn token_gaps<'a>(steps: impl Iterator<Item = (&'a StepRow, u64)>) -> Distribution {
    let mut gaps: Vec<(f64, u64)> = steps
        .filter(|(_, requests)| *requests > 0)
        .map(|(step, requests)| (step.gap.as_millis_f64(), requests))
        .collect();
    weighted_distribution(&mut gaps)
}

/// Price per million tokens.
fn cost(measure: &Measure<'_>, tokens_per_s: f64) -> Option<f64> {
    let hour = measure.hour_price?;
    (tokens_per_s > 0.0).then(|| hour / 3600.0 / tokens_per_s * 1e6)
}
