//! `CellFigures` over the measured window, and the throughput of batches within it.

use weir_model::{Nanos, Outcome};
use weir_record::{CellFigures, StepRow};
use weir_spec::plan::{Deployment, Level, Plan, Prices, Slo};

use super::columns::{NEVER, RequestColumns};
use super::contradiction::Contradiction;
use super::distribution::{distribution, weighted_distribution};
use super::flow::{check_rows, check_tokens};
use super::streams::Streams;

/// The measured window; an event at either border is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// End of the warm-up.
    pub start: Nanos,
    /// End of the offered load.
    pub end: Nanos,
}

impl Window {
    /// The window of a level: from its warm-up to its duration, or to the last end where the
    /// level has no duration or the load ran out before it.
    pub fn of(level: &Level, last_end: Nanos) -> Self {
        let end = level.duration.map_or(last_end, |duration| {
            // Requests run past the duration while the cell drains; a source of requests that ran
            // dry ends before it, and idle time after that is not part of the measurement.
            if level.max_requests.is_some() { duration.min(last_end) } else { duration }
        });
        Self { start: level.warmup, end }
    }

    pub(crate) fn contains(self, at: u64) -> bool {
        (self.start.0..=self.end.0).contains(&at)
    }

    /// Length in seconds.
    pub fn seconds(self) -> f64 {
        self.end.saturating_sub(self.start).as_secs_f64()
    }
}

/// What figures are measured against.
#[derive(Debug, Clone, Copy)]
pub struct Measure<'a> {
    /// The window.
    pub window: Window,
    /// Objectives of goodput.
    pub slo: &'a Slo,
    /// Prices.
    pub prices: &'a Prices,
    /// Accelerators of all replicas.
    pub gpus: u32,
}

impl<'a> Measure<'a> {
    /// The measure of a cell of the plan.
    pub fn of(plan: &'a Plan, deployment: &Deployment, window: Window) -> Self {
        let gpus = deployment.hardware.count * deployment.replicas;
        Self { window, slo: &plan.slo, prices: &plan.prices, gpus }
    }

    fn has_objectives(&self) -> bool {
        self.slo.ttft.is_some() || self.slo.tpot.is_some() || self.slo.e2e.is_some()
    }
}

/// The figures of a simulated cell, after all rows were checked against each other. Without passes,
/// the tokens between a request's first and last are taken to be evenly spaced.
///
/// Latencies count from `due`, so that a load generator that falls behind does not hide the
/// wait; residence (in flight) counts from `start`.
pub fn summarise(
    columns: &RequestColumns,
    steps: &[StepRow],
    measure: &Measure<'_>,
) -> Result<CellFigures, Contradiction> {
    check_rows(columns)?;
    check_tokens(columns, steps)?;
    let window = measure.window;
    let output_tokens = if steps.is_empty() {
        interpolated_output_tokens(columns, window)
    } else {
        pass_output_tokens(columns, steps, window)
    };
    let figures = figures(columns, measure, output_tokens)?;
    let passes = steps.iter().filter(|step| window.contains(step.end.0)).count() as u64;
    Ok(CellFigures { itl_ms: token_gaps(steps, window), passes, ..figures })
}

/// The figures of a live cell, after all rows and streams were checked against each other. Each
/// token counts at the time of the stream event that brought it, each gap at its own end.
/// `streams` has to hold all requests of `columns`, cut to the window of `measure`.
pub fn summarise_streams(
    columns: &RequestColumns,
    streams: &Streams,
    measure: &Measure<'_>,
) -> Result<CellFigures, Contradiction> {
    check_rows(columns)?;
    streams.check(columns.len())?;
    let measure = Measure { window: streams.window(), ..*measure };
    let figures = figures(columns, &measure, streams.output_tokens())?;
    Ok(CellFigures { itl_ms: streams.gaps_ms(), ..figures })
}

/// All figures that need no time of a token but the first.
fn figures(
    columns: &RequestColumns,
    measure: &Measure<'_>,
    output_tokens: u64,
) -> Result<CellFigures, Contradiction> {
    let window = measure.window;
    if window.end <= window.start {
        return Err(Contradiction::EmptyWindow { start_ns: window.start.0, end_ns: window.end.0 });
    }
    let seconds = window.seconds();
    let mut sums = Sums::over(columns, measure);
    let mean_in_flight = in_flight_ns(columns, window) as f64 / (seconds * 1e9);
    let output_tokens_per_s = output_tokens as f64 / seconds;
    let share = |part: u64, whole: u64| {
        if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
    };
    let goodput = measure.has_objectives().then_some(sums.good as f64 / seconds);
    let per_request = if sums.completed == 0 {
        0.0
    } else {
        sums.request_rates / sums.completed as f64 * mean_in_flight
    };
    Ok(CellFigures {
        window_s: seconds,
        completed: sums.completed,
        failed: sums.failed,
        unfinished: count_unfinished(columns),
        output_tokens_per_s,
        completed_output_tokens_per_s: sums.output_tokens as f64 / seconds,
        per_request_output_tokens_per_s: per_request,
        prompt_tokens_per_s: sums.prompt_tokens as f64 / seconds,
        requests_per_s: sums.completed as f64 / seconds,
        ttft_ms: distribution(&mut sums.ttft_ms),
        tpot_ms: distribution(&mut sums.tpot_ms),
        e2e_ms: distribution(&mut sums.e2e_ms),
        guidellm_tpot_ms: distribution(&mut sums.guidellm_tpot_ms),
        mean_in_flight,
        goodput_requests_per_s: goodput,
        goodput_share: goodput.map(|_| share(sums.good, sums.completed)),
        gpu_hit_percent: 100.0 * share(sums.gpu_hit_tokens, sums.prompt_tokens),
        external_hit_percent: 100.0 * share(sums.external_hit_tokens, sums.prompt_tokens),
        cost_per_million_output_tokens: cost(measure, output_tokens_per_s),
        // Token gaps, passes and the certificate come from elsewhere; requests that were never
        // asked have no rows, so whoever fed the trace fills their numbers in.
        ..CellFigures::default()
    })
}

/// Output tokens per second of `batches` equal parts of the window, for batch means. From the
/// passes where there are any, else from the ends of requests.
pub fn throughput_batches(
    columns: &RequestColumns,
    steps: &[StepRow],
    window: Window,
    batches: usize,
) -> Vec<f64> {
    let length = window.end.saturating_sub(window.start).0;
    if batches == 0 || length == 0 {
        return Vec::new();
    }
    let mut tokens = vec![0_u64; batches];
    let mut add = |at: u64, count: u64| {
        if window.contains(at) {
            let place = u128::from(at - window.start.0) * batches as u128 / u128::from(length);
            tokens[(place as usize).min(batches - 1)] += count;
        }
    };
    if steps.is_empty() {
        for row in (0..columns.len()).filter(|&row| columns.is_done(row)) {
            add(columns.end[row], u64::from(columns.output_tokens[row]));
        }
    } else {
        for step in steps {
            add(step.end.0, u64::from(step.decoding));
        }
        for &at in columns.first_token.iter().filter(|&&at| at != NEVER) {
            add(at, 1);
        }
    }
    let seconds = window.seconds() / batches as f64;
    tokens.into_iter().map(|count| count as f64 / seconds).collect()
}

/// Sums and samples over the requests that ended inside the window.
#[derive(Default)]
struct Sums {
    completed: u64,
    failed: u64,
    good: u64,
    prompt_tokens: u64,
    output_tokens: u64,
    gpu_hit_tokens: u64,
    external_hit_tokens: u64,
    request_rates: f64,
    ttft_ms: Vec<f64>,
    tpot_ms: Vec<f64>,
    e2e_ms: Vec<f64>,
    guidellm_tpot_ms: Vec<f64>,
}

impl Sums {
    fn over(columns: &RequestColumns, measure: &Measure<'_>) -> Self {
        let mut sums = Self::default();
        for row in (0..columns.len()).filter(|&row| measure.window.contains(columns.end[row])) {
            match columns.outcome[row] {
                Outcome::Done => sums.add(columns, row, measure.slo),
                Outcome::Failed => sums.failed += 1,
                Outcome::Unfinished => {}
            }
        }
        sums
    }

    fn add(&mut self, columns: &RequestColumns, row: usize, slo: &Slo) {
        let (due, end) = (columns.due[row], columns.end[row]);
        let first = columns.first_token[row];
        let tokens = columns.output_tokens[row];
        let (ttft, e2e) = (first - due, end - due);
        let tpot = (tokens > 1).then(|| (end - first) as f64 / f64::from(tokens - 1));
        self.completed += 1;
        self.prompt_tokens += u64::from(columns.prompt_tokens[row]);
        self.output_tokens += u64::from(tokens);
        self.gpu_hit_tokens += u64::from(columns.gpu_hit_tokens[row]);
        self.external_hit_tokens += u64::from(columns.external_hit_tokens[row]);
        self.ttft_ms.push(ttft as f64 / 1e6);
        self.e2e_ms.push(e2e as f64 / 1e6);
        self.tpot_ms.extend(tpot.map(|ns| ns / 1e6));
        let sent = (end - columns.start[row]) as f64;
        self.guidellm_tpot_ms.push(sent / f64::from(tokens) / 1e6);
        if e2e > 0 {
            self.request_rates += f64::from(tokens) / (e2e as f64 / 1e9);
        }
        let meets = slo.ttft.is_none_or(|most| ttft <= most.0)
            && slo.e2e.is_none_or(|most| e2e <= most.0)
            && slo.tpot.is_none_or(|most| tpot.is_none_or(|ns| ns <= most.0 as f64));
        self.good += u64::from(meets);
    }
}

fn count_unfinished(columns: &RequestColumns) -> u64 {
    columns.outcome.iter().filter(|&&outcome| outcome == Outcome::Unfinished).count() as u64
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

/// Tokens inside the window, exactly: each pass gives one to each decoding sequence, and each
/// request has a first token.
fn pass_output_tokens(columns: &RequestColumns, steps: &[StepRow], window: Window) -> u64 {
    let first_tokens =
        columns.first_token.iter().filter(|&&at| at != NEVER && window.contains(at)).count();
    let inside = steps.iter().filter(|step| window.contains(step.end.0));
    first_tokens as u64 + inside.map(|step| u64::from(step.decoding)).sum::<u64>()
}

/// Tokens inside the window where only the first and the last one have times: those between are
/// taken to be evenly spaced.
fn interpolated_output_tokens(columns: &RequestColumns, window: Window) -> u64 {
    let mut total = 0;
    for row in 0..columns.len() {
        let first = columns.first_token[row];
        let tokens = u64::from(columns.output_tokens[row]);
        if first == NEVER {
            continue;
        }
        let gaps = tokens - 1;
        let span = columns.end[row] - first;
        if gaps == 0 || span == 0 {
            total += if window.contains(first) { tokens } else { 0 };
            continue;
        }
        // Token i comes at first + i * span / gaps; count those at or before a time.
        let until = |at: u64| match at.checked_sub(first) {
            None => 0,
            Some(since) => {
                let passed = u128::from(since) * u128::from(gaps) / u128::from(span);
                (passed as u64 + 1).min(tokens)
            }
        };
        let before = window.start.0.checked_sub(1).map_or(0, until);
        total += until(window.end.0) - before;
    }
    total
}

fn token_gaps(steps: &[StepRow], window: Window) -> weir_record::Distribution {
    let mut gaps: Vec<(f64, u64)> = steps
        .iter()
        .filter(|step| step.decoding > 0 && window.contains(step.end.0))
        .map(|step| (step.gap.as_millis_f64(), u64::from(step.decoding)))
        .collect();
    weighted_distribution(&mut gaps)
}

/// `gpus * gpu_hour / 3600 / tokens_per_s * 1e6`.
fn cost(measure: &Measure<'_>, tokens_per_s: f64) -> Option<f64> {
    let gpu_hour = measure.prices.gpu_hour?;
    (tokens_per_s > 0.0).then(|| f64::from(measure.gpus) * gpu_hour / 3600.0 / tokens_per_s * 1e6)
}
