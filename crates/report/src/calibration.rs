//! The constants of a fixed timing model, fitted to requests that had an engine to themselves.
//!
//! `fixed` says that a pass takes `base + per_token * tokens`. Alone, a request whose prompt has
//! `n` uncached tokens waits `ceil(n / budget)` passes for its first token, then one pass per
//! token:
//!
//! ```text
//! first token = passes * base + per_token * n
//! next tokens = base + per_token
//! ```
//!
//! The median time of a next token is a point of the line. `per_token` is the median of the slopes
//! from it to each request: the Theil-Sen estimator with one end held. Nearly half of the requests
//! may be disturbed without moving it far. Slopes between all pairs fit worse: attention bends the
//! line, and `fixed` has no constant that could offset a steeper one. `base` is the rest of the
//! time of a next token. Attention and HTTP stay in the residuals, which are those of the rounded
//! constants.

use thiserror::Error;
use weir_model::{Nanos, Outcome, RequestRow, Tokens, Window};

use crate::figures::quantile;

/// Fewest requests for a median.
const LEAST_REQUESTS: usize = 10;
/// Smallest ratio of the longest computed part to the shortest; a smaller one gives no slope.
const LEAST_SPREAD: f64 = 2.0;
/// Most requests between which slopes are taken; more are thinned out evenly.
const MOST_REQUESTS: usize = 2000;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CalibrationError {
    #[error(
        "{alone} of {all} requests ran alone in the window without hits below the GPU, and \
         {LEAST_REQUESTS} are needed; record with `load: {{users: [1]}}`, or longer"
    )]
    TooFew { alone: usize, all: usize },
    #[error(
        "all requests computed between {least} and {most} prompt tokens, too much alike for a \
         slope; record with prompts of different lengths, for example \
         `prompt_tokens: {{uniform: {{min: 16, max: 2000}}}}`"
    )]
    Alike { least: u32, most: u32 },
    #[error("no request got more than one token; record with `output_tokens: 16`")]
    OneToken,
    #[error(
        "the time to the first token does not grow with the computed tokens; something else took \
         the time: record on an idle machine"
    )]
    NoSlope,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Prompt tokens that were computed.
    pub computed: u32,
    /// Prompt tokens that the GPU's cache served.
    pub cached: u32,
    /// Passes until the first token.
    pub passes: u32,
    /// From sending.
    pub first_s: f64,
    /// Per token after the first.
    pub token_s: Option<f64>,
}

/// The requests that ran alone in the window. `budget`: most tokens of a pass.
pub fn samples(rows: &[RequestRow], window: Window, budget: u32) -> Vec<Sample> {
    let mut rows: Vec<&RequestRow> = rows.iter().collect();
    rows.sort_by_key(|row| (row.start, row.request));
    let mut found = Vec::new();
    let mut busy_until = None;
    for (index, row) in rows.iter().enumerate() {
        let follows = rows.get(index + 1).is_none_or(|next| next.start >= row.end);
        let is_alone = follows && busy_until.is_none_or(|end| end <= row.start);
        busy_until = busy_until.max(Some(row.end));
        let is_inside = row.start >= window.start && row.end <= window.end;
        if is_alone && is_inside {
            found.extend(sample(row, budget));
        }
    }
    found
}

fn sample(row: &RequestRow, budget: u32) -> Option<Sample> {
    let first = row.first_token?;
    let is_plain = row.outcome == Outcome::Done
        && row.preemptions == 0
        && row.external_hit_tokens() == Tokens::ZERO;
    let cached = row.gpu_hit_tokens();
    let computed = row.prompt_tokens.0.checked_sub(cached.0)?;
    if !is_plain || computed == 0 {
        return None;
    }
    let more = row.output_tokens.0.saturating_sub(1);
    let after = row.end.saturating_sub(first).as_secs_f64();
    Some(Sample {
        computed,
        cached: cached.0,
        passes: computed.div_ceil(budget.max(1)),
        first_s: first.saturating_sub(row.start).as_secs_f64(),
        token_s: (more > 0).then(|| after / f64::from(more)),
    })
}

/// The fitted constants and the errors of the fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Rounded to three digits.
    pub base: Nanos,
    /// Rounded to three digits.
    pub per_token: Nanos,
    pub requests: usize,
    /// Fewest and most computed prompt tokens of a request.
    pub computed: (u32, u32),
    /// Relative size of the error of the time to the first token: median and 90th percentile.
    pub first_error: (f64, f64),
    /// Median of measured / modelled - 1, for requests without a cached token and for those mostly
    /// served by the cache. Attention to a long context shows as a difference between the two.
    pub bias: (Option<f64>, Option<f64>),
    /// Seconds per token after the first: 10th, 50th and 90th percentile.
    pub token_s: (f64, f64, f64),
    /// Nanoseconds per next token and token of context (Theil-Sen). `fixed` has no constant for it.
    pub context_ns: Option<f64>,
}

pub fn calibrate(samples: &[Sample], all: usize) -> Result<Calibration, CalibrationError> {
    if samples.len() < LEAST_REQUESTS {
        return Err(CalibrationError::TooFew { alone: samples.len(), all });
    }
    let least = samples.iter().map(|sample| sample.computed).min().unwrap_or(0);
    let most = samples.iter().map(|sample| sample.computed).max().unwrap_or(0);
    if f64::from(most) < LEAST_SPREAD * f64::from(least) {
        return Err(CalibrationError::Alike { least, most });
    }
    let tokens = sorted(samples.iter().filter_map(|sample| sample.token_s));
    let token_s = median(&tokens).ok_or(CalibrationError::OneToken)?;
    let per_token = slope(samples, token_s).ok_or(CalibrationError::NoSlope)?;
    let base = rounded((token_s - per_token).max(0.0));
    let per_token = rounded(per_token);
    let error = |sample: &Sample| {
        let passes = base.as_secs_f64() * f64::from(sample.passes);
        sample.first_s / (passes + per_token.as_secs_f64() * f64::from(sample.computed)) - 1.0
    };
    let errors = sorted(samples.iter().map(|sample| error(sample).abs()));
    let of = |chosen: &dyn Fn(&&Sample) -> bool| {
        let chosen = sorted(samples.iter().filter(chosen).map(error));
        if chosen.len() < LEAST_REQUESTS { None } else { median(&chosen) }
    };
    let at = |values: &[f64], p| quantile(values, p).unwrap_or(0.0);
    Ok(Calibration {
        base,
        per_token,
        requests: samples.len(),
        computed: (least, most),
        first_error: (at(&errors, 0.5), at(&errors, 0.9)),
        bias: (of(&|sample| sample.cached == 0), of(&|sample| sample.cached > sample.computed)),
        token_s: (at(&tokens, 0.1), token_s, at(&tokens, 0.9)),
        context_ns: context(samples),
    })
}

/// Seconds per computed token: `first - passes * token` is the time of `computed - passes` tokens.
fn slope(samples: &[Sample], token_s: f64) -> Option<f64> {
    let of = |s: &Sample| {
        let more = f64::from(s.computed.checked_sub(s.passes)?);
        (more > 0.0).then(|| (s.first_s - f64::from(s.passes) * token_s) / more)
    };
    median(&sorted(samples.iter().filter_map(of))).filter(|slope| *slope > 0.0)
}

/// Nanoseconds per token of context, where contexts differ.
fn context(samples: &[Sample]) -> Option<f64> {
    let point = |s: &Sample| Some((f64::from(s.computed) + f64::from(s.cached), s.token_s?));
    let points: Vec<(f64, f64)> = samples.iter().filter_map(point).collect();
    Some(theil_sen(&points)? * 1e9)
}

/// The median of the slopes between all pairs of points with different abscissae.
fn theil_sen(points: &[(f64, f64)]) -> Option<f64> {
    let stride = points.len().div_ceil(MOST_REQUESTS).max(1);
    let points: Vec<(f64, f64)> = points.iter().copied().step_by(stride).collect();
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (index, (x, y)) in points.iter().enumerate() {
        for (other_x, other_y) in &points[index + 1..] {
            if x != other_x {
                slopes.push((other_y - y) / (other_x - x));
            }
        }
    }
    median(&sorted(slopes.into_iter()))
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> Option<f64> {
    quantile(sorted, 0.5)
}

/// Nanoseconds to three digits: the fit is no better.
fn rounded(seconds: f64) -> Nanos {
    let nanos = Nanos::from_secs_f64(seconds).0;
    let digits = nanos.checked_ilog10().unwrap_or(0);
    let unit = 10u64.pow(digits.saturating_sub(2));
    Nanos((nanos + unit / 2) / unit * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: f64 = 0.008;
    const PER_TOKEN: f64 = 0.0004;

    fn samples_of(disturbed: impl Fn(usize) -> bool) -> Vec<Sample> {
        (0..60)
            .map(|index| {
                let computed = 50 + 67 * index as u32;
                let passes = computed.div_ceil(2048);
                let first = BASE * f64::from(passes) + PER_TOKEN * f64::from(computed);
                let slower = if disturbed(index) { 3.0 } else { 1.0 };
                Sample {
                    computed,
                    cached: 0,
                    passes,
                    first_s: first * slower,
                    token_s: Some((BASE + PER_TOKEN) * slower),
                }
            })
            .collect()
    }

    #[test]
    fn exact_times_give_their_constants_back() {
        let found = calibrate(&samples_of(|_| false), 60).unwrap();
        assert_eq!((found.base, found.per_token), (Nanos::from_millis(8), Nanos(400_000)));
        assert!(found.first_error.1 < 1e-9 && found.bias.0.unwrap().abs() < 1e-9, "{found:?}");
        assert_eq!((found.computed, found.bias.1), ((50, 4003), None));
    }

    #[test]
    fn a_tenth_of_disturbed_requests_moves_little() {
        let found = calibrate(&samples_of(|index| index % 10 == 3), 60).unwrap();
        let close = |found: Nanos, wanted: f64| (found.as_secs_f64() / wanted - 1.0).abs() < 0.03;
        assert!(close(found.per_token, PER_TOKEN) && close(found.base, BASE), "{found:?}");
        assert!(found.first_error.0 < 0.03 && found.token_s.2 > found.token_s.1, "{found:?}");
    }

    #[test]
    fn longer_contexts_show_in_the_figures_that_fixed_has_no_place_for() {
        let mut samples = samples_of(|_| false);
        for (index, sample) in samples.iter_mut().enumerate() {
            sample.cached = if index % 2 == 0 { 0 } else { 5000 };
            let context = f64::from(sample.computed + sample.cached);
            sample.first_s *= if sample.cached > 0 { 1.2 } else { 1.0 };
            sample.token_s = Some(BASE + PER_TOKEN + 1e-7 * context);
        }
        let found = calibrate(&samples, 60).unwrap();
        assert!((found.context_ns.unwrap() - 100.0).abs() < 1.0, "{found:?}");
        let (computed, reused) = (found.bias.0.unwrap(), found.bias.1.unwrap());
        assert!(reused - computed > 0.15, "{found:?}");
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        let samples = samples_of(|_| false);
        assert_eq!(
            calibrate(&samples[..5], 40),
            Err(CalibrationError::TooFew { alone: 5, all: 40 })
        );
        let alike = vec![samples[3]; 20];
        assert!(matches!(calibrate(&alike, 20), Err(CalibrationError::Alike { .. })));
        let mut short = samples.clone();
        for sample in &mut short {
            sample.token_s = None;
        }
        assert_eq!(calibrate(&short, 60), Err(CalibrationError::OneToken));
        let mut flat = samples;
        for sample in &mut flat {
            sample.first_s = 0.001;
        }
        assert_eq!(calibrate(&flat, 60), Err(CalibrationError::NoSlope));
    }

    fn row(request: u64, start: u64, end: u64) -> RequestRow {
        RequestRow {
            request,
            session: request,
            turn: 0,
            prompt_id: request,
            replica: Some(0),
            due: Nanos::from_millis(start),
            start: Nanos::from_millis(start),
            connected: None,
            first_byte: None,
            first_token: Some(Nanos::from_millis(start + 10)),
            end: Nanos::from_millis(end),
            prompt_tokens: Tokens(3000),
            output_tokens: Tokens(11),
            seen_tokens: Tokens::ZERO,
            cached_tokens: [Tokens(500), Tokens::ZERO, Tokens::ZERO, Tokens::ZERO],
            preemptions: 0,
            first_step: 0,
            chunk_gaps: Vec::new(),
            events_per_read: None,
            outcome: Outcome::Done,
            error: None,
            output_digest: None,
            error_bound: Nanos::ZERO,
            hits: None,
            shard: None,
        }
    }

    #[test]
    fn only_requests_that_ran_alone_inside_the_window_and_were_computed_are_taken() {
        let window = Window { start: Nanos::from_millis(100), end: Nanos::from_millis(1000) };
        let mut from_host = row(6, 700, 750);
        from_host.cached_tokens[1] = Tokens(64);
        let mut failed = row(7, 760, 800);
        failed.outcome = Outcome::Failed;
        let rows = [
            row(0, 50, 90),
            row(1, 100, 210),
            row(2, 210, 310),
            // These two overlap, and the third begins inside the first of them.
            row(3, 400, 600),
            row(4, 420, 440),
            row(5, 590, 650),
            from_host,
            failed,
            row(8, 990, 1001),
        ];
        let found = samples(&rows, window, 2048);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[0].computed, found[0].cached, found[0].passes), (2500, 500, 2));
        assert!((found[0].first_s - 0.01).abs() < 1e-12);
        assert!((found[0].token_s.unwrap() - 0.01).abs() < 1e-12);
    }
}
