//! How far figures of live cells can be off because of the load generator, and whether that
//! matters.
//!
//! A time counts from the due time of the request, so it contains the generator's own delay. The
//! same delay matters at a TTFT of 60 ms and not at 600. An error is small when it is below a share
//! of the control's figure or of the difference from it, whichever is larger. A figure with a
//! larger error is shown as a bound, and enters no mean, difference or peak.

use std::collections::BTreeMap;

use serde::Serialize;
use weir_model::quantity::Tolerance;

use crate::metric::{METRICS, Metric};
use crate::results::{CellResult, Results, reference};

/// Largest small error, percent of the figure that is compared with.
const MOST_PERCENT: f64 = 5.0;
/// Milliseconds. A smaller delay is ignored: a network between machines adds more.
const LEAST_MS: f64 = 1.0;
/// Milliseconds; the same for times between tokens, which are shorter.
const LEAST_GAP_MS: f64 = 0.1;

/// The true figure lies between `value - below` and `value + above`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Margin {
    below: f64,
    above: f64,
}

impl Margin {
    fn largest(self) -> f64 {
        self.below.max(self.above)
    }
}

/// What is known of a figure with a large error; values in the metric's unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Bound {
    AtMost {
        value: f64,
    },
    AtLeast {
        value: f64,
    },
    /// The true figure is within a margin of this, either way.
    Within {
        value: f64,
        margin: f64,
    },
}

impl Metric {
    /// None where its error is not small.
    pub fn exact(&self, result: &CellResult) -> Option<f64> {
        (self.of)(result).filter(|_| !result.inexact.contains(&self.key))
    }
}

/// How a metric depends on the times at which the generator sent or read.
enum Depends {
    /// Counted from the due time: too long by up to the generator's delay.
    Delay,
    /// Between events of a stream: wrong either way.
    Gaps,
    /// Rates: too low by what users or sessions waited for the generator.
    Users,
    /// Money per token: too high by the same.
    Cost,
}

fn depends(key: &str) -> Option<Depends> {
    Some(match key {
        "ttft_mean_ms" | "ttft_p50_ms" | "ttft_p90_ms" | "ttft_p99_ms" | "e2e_mean_ms"
        | "e2e_p50_ms" | "e2e_p99_ms" => Depends::Delay,
        "itl_mean_ms" | "itl_p50_ms" | "itl_p99_ms" => Depends::Gaps,
        "output_tokens_per_s" | "requests_per_s" | "goodput_requests_per_s" => Depends::Users,
        "cost_per_million_output_tokens" => Depends::Cost,
        _ => return None,
    })
}

/// None where the figure does not depend on the generator.
pub(crate) fn margin(metric: &Metric, result: &CellResult) -> Option<Margin> {
    let seen = result.record.figures.certificate.as_ref()?;
    let value = (metric.of)(result)?;
    // The error of a mean is at most the mean error; of a quantile, about the 99th percentile.
    let is_mean = metric.key.ends_with("_mean_ms");
    // Share of the offered load that the generator did not deliver.
    let idle = if seen.offered > 0.0 { 1.0 - seen.delivered / seen.offered } else { 0.0 };
    let idle = idle.clamp(0.0, 0.99);
    Some(match depends(metric.key)? {
        Depends::Delay => {
            let bound = &seen.first_token_bound;
            let time = if is_mean { bound.mean } else { bound.p99 };
            Margin { below: time.as_millis_f64(), above: 0.0 }
        }
        Depends::Gaps => {
            let bound = &seen.gap_bound;
            let time = if is_mean { bound.mean } else { bound.p99 }.as_millis_f64();
            Margin { below: time, above: time }
        }
        Depends::Users => Margin { below: 0.0, above: value * idle / (1.0 - idle) },
        Depends::Cost => Margin { below: value * idle, above: 0.0 },
    })
}

/// None where the figure is exact.
pub(crate) fn bound(metric: &Metric, result: &CellResult) -> Option<Bound> {
    let value = (metric.of)(result)?;
    if result.refusal().is_some() {
        // A generator at its limit sent less than it should have.
        return match metric.key {
            key if key.ends_with("_tokens_per_s") || key.ends_with("requests_per_s") => {
                Some(Bound::AtLeast { value })
            }
            key if key.ends_with("_ms") && depends(key).is_some() || key.starts_with("tpot_") => {
                Some(Bound::AtMost { value })
            }
            "cost_per_million_output_tokens" => Some(Bound::AtMost { value }),
            _ => None,
        };
    }
    let margin = margin(metric, result)?;
    Some(match (margin.below > 0.0, margin.above > 0.0) {
        (true, true) => Bound::Within { value, margin: margin.largest() },
        (false, true) => Bound::AtLeast { value },
        _ => Bound::AtMost { value },
    })
}

/// The mean of the bounds, over repeats of which none is exact.
pub(crate) fn bound_over(metric: &Metric, results: &[&CellResult]) -> Option<Bound> {
    let bounds: Vec<Bound> = results.iter().filter_map(|result| bound(metric, result)).collect();
    let first = bounds.first()?;
    let alike: Vec<&Bound> = bounds
        .iter()
        .filter(|bound| std::mem::discriminant(*bound) == std::mem::discriminant(first))
        .collect();
    let over = |part: fn(&Bound) -> f64| {
        alike.iter().map(|bound| part(bound)).sum::<f64>() / alike.len() as f64
    };
    let value = over(|bound| match bound {
        Bound::AtMost { value } | Bound::AtLeast { value } | Bound::Within { value, .. } => *value,
    });
    Some(match first {
        Bound::AtMost { .. } => Bound::AtMost { value },
        Bound::AtLeast { .. } => Bound::AtLeast { value },
        Bound::Within { .. } => Bound::Within {
            value,
            margin: over(|bound| match bound {
                Bound::Within { margin, .. } => *margin,
                _ => 0.0,
            }),
        },
    })
}

/// The largest error that is small, for a figure against the one it is compared with.
fn tolerance(metric: &Metric, most: Option<Tolerance>, value: f64, against: Option<f64>) -> f64 {
    let scale = against.map_or(value, |control| control.max((value - control).abs()));
    let is_time = metric.unit == "ms";
    match most {
        Some(Tolerance::Time(time)) if is_time => time.as_millis_f64(),
        Some(Tolerance::Percent(percent)) => scale * percent / 100.0,
        _ => {
            let least = match depends(metric.key) {
                Some(Depends::Gaps) => LEAST_GAP_MS,
                Some(Depends::Delay) => LEAST_MS,
                _ => 0.0,
            };
            least.max(scale * MOST_PERCENT / 100.0)
        }
    }
}

/// Records in each live cell the metrics whose error is not small at its level.
pub fn judge(results: &mut Results<'_>) {
    let plan = results.plan;
    let most = plan.client.max_error;
    let place = |result: &CellResult| {
        let cell = &plan.cells[result.cell];
        (cell.deployment, cell.arm, cell.level, cell.repeat)
    };
    let by_place: BTreeMap<_, usize> =
        results.cells.iter().enumerate().map(|(at, result)| (place(result), at)).collect();
    let judged: Vec<Vec<&'static str>> = results
        .cells
        .iter()
        .map(|result| {
            let (deployment, arm, level, repeat) = place(result);
            let control = reference(&plan.deployments[deployment], arm)
                .and_then(|control| by_place.get(&(deployment, control, level, repeat)))
                .map(|&at| &results.cells[at]);
            let is_large = |metric: &&Metric| {
                let Some((value, margin)) = (metric.of)(result).zip(margin(metric, result)) else {
                    return false;
                };
                let against = control.and_then(|control| (metric.of)(control));
                margin.largest() > tolerance(metric, most, value, against)
            };
            METRICS.iter().filter(is_large).map(|metric| metric.key).collect()
        })
        .collect();
    for (result, inexact) in results.cells.iter_mut().zip(judged) {
        result.inexact = inexact;
    }
}

/// Neither error may be large against the control's figure or the difference.
pub(crate) fn is_comparable(
    metric: &Metric,
    most: Option<Tolerance>,
    control: &CellResult,
    arm: &CellResult,
) -> bool {
    let (Some(base), Some(value)) = ((metric.of)(control), (metric.of)(arm)) else { return false };
    let most = tolerance(metric, most, value, Some(base));
    let error = |result| margin(metric, result).map_or(0.0, Margin::largest);
    error(control).max(error(arm)) <= most
}

pub(crate) fn default_words() -> String {
    format!(
        "{MOST_PERCENT:.0} % of the control's figure or of the difference from it, and above \
         {LEAST_MS:.0} ms ({LEAST_GAP_MS} ms for gaps)"
    )
}

pub(crate) fn most_words(most: Tolerance) -> String {
    match most {
        Tolerance::Time(_) => most.to_string(),
        Tolerance::Percent(percent) => {
            format!("{percent} % of the control's figure or of the difference from it")
        }
    }
}
