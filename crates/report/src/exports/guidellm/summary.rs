//! `GuideLLM`'s summaries of distributions (`guidellm/schemas/base/statistics.py` of 0.8.1).
//!
//! Values have weights; a quantile is the smallest value whose cumulated share reaches the
//! probability; deviation with n. Without values all figures are 0 with a `count` of 0, as its
//! reader takes no null. Confidence intervals are left out (`confidence: null`): they assume
//! independent requests.

use serde::Serialize;

/// In `GuideLLM`'s words, as the index into a list per status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Successful,
    Incomplete,
    Errored,
}

impl Status {
    pub(super) const ALL: [Self; 3] = [Self::Successful, Self::Incomplete, Self::Errored];
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct ByStatus<T> {
    pub(super) successful: T,
    pub(super) errored: T,
    pub(super) incomplete: T,
    pub(super) total: T,
}

impl<T> ByStatus<T> {
    /// `total` is made from all lists joined.
    pub(super) fn of<V: Clone>(lists: [Vec<V>; 3], make: impl Fn(Vec<V>) -> T) -> Self {
        let total = make(lists.concat());
        let [successful, incomplete, errored] = lists;
        Self {
            successful: make(successful),
            errored: make(errored),
            incomplete: make(incomplete),
            total,
        }
    }
}

pub(super) type StatusSummary = ByStatus<Summary>;

/// A value and its weight.
pub(super) type Weighted = (f64, f64);

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) mean: f64,
    pub(super) median: f64,
    pub(super) mode: f64,
    pub(super) variance: f64,
    pub(super) std_dev: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) count: u64,
    pub(super) total_sum: f64,
    pub(super) percentiles: Percentiles,
    pdf: Option<()>,
    mean_ci: Option<()>,
    percentile_cis: Option<()>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) p001: f64,
    pub(super) p01: f64,
    pub(super) p05: f64,
    pub(super) p10: f64,
    pub(super) p25: f64,
    pub(super) p50: f64,
    pub(super) p75: f64,
    pub(super) p90: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
}

const PROBABILITIES: [f64; 11] = [0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999];

/// Smaller sums of weights count as none.
const EPSILON: f64 = 1e-6;

impl Summary {
    pub(super) fn of(values: Vec<f64>) -> Self {
        Self::weighted(values.into_iter().map(|value| (value, 1.0)).collect(), None)
    }

    /// `count`: where it is not the sum of the weights.
    pub(super) fn weighted(mut values: Vec<Weighted>, count: Option<u64>) -> Self {
        let weights: f64 = values.iter().map(|value| value.1).sum();
        let count = count.unwrap_or(weights.round() as u64);
        if values.is_empty() {
            return Self { count, ..Self::default() };
        }
        values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        values.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 += if same { next.1 } else { 0.0 };
            same
        });
        if weights > EPSILON {
            values.retain(|value| value.1 > 0.0);
        } else {
            for value in &mut values {
                value.1 = 1.0;
            }
        }
        Self::of_sorted(&values, count)
    }

    fn of_sorted(values: &[Weighted], count: u64) -> Self {
        let total: f64 = values.iter().map(|value| value.1).sum();
        let mean = values.iter().map(|(value, weight)| value * weight).sum::<f64>() / total;
        let variance =
            values.iter().map(|(value, weight)| (value - mean).powi(2) * weight).sum::<f64>()
                / total;
        let mode = values.iter().fold(
            values[0],
            |best, &value| {
                if value.1 > best.1 { value } else { best }
            },
        );
        let percentiles = Percentiles::of(values, total);
        Self {
            mean,
            median: percentiles.p50,
            mode: mode.0,
            variance,
            std_dev: libm::sqrt(variance),
            min: values[0].0,
            max: values[values.len() - 1].0,
            count,
            total_sum: mean * count as f64,
            percentiles,
            ..Self::default()
        }
    }
}

impl Percentiles {
    fn of(values: &[Weighted], total: f64) -> Self {
        let (mut place, mut passed) = (0, values[0].1);
        let at = PROBABILITIES.map(|probability| {
            while passed / total < probability && place + 1 < values.len() {
                place += 1;
                passed += values[place].1;
            }
            values[place].0
        });
        let [p001, p01, p05, p10, p25, p50, p75, p90, p95, p99, p999] = at;
        Self { p001, p01, p05, p10, p25, p50, p75, p90, p95, p99, p999 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_equal_those_of_guidellm() {
        // DistributionSummary.from_values([(3, 2), (1, 1), (10, 1), (3, 0)]) of guidellm 0.8.1.
        let seen = Summary::weighted(vec![(3.0, 2.0), (1.0, 1.0), (10.0, 1.0), (3.0, 0.0)], None);
        assert_eq!((seen.count, seen.mean, seen.median, seen.mode), (4, 4.25, 3.0, 3.0));
        assert_eq!((seen.min, seen.max, seen.total_sum), (1.0, 10.0, 17.0));
        assert_eq!(seen.variance, 11.6875);
        assert_eq!((seen.percentiles.p25, seen.percentiles.p75), (1.0, 3.0));
        assert_eq!((seen.percentiles.p001, seen.percentiles.p90), (1.0, 10.0));
        assert_eq!(Summary::of(Vec::new()), Summary::default());
        // Without weight, all values weigh alike.
        let seen = Summary::weighted(vec![(2.0, 0.0), (4.0, 0.0)], None);
        assert_eq!((seen.mean, seen.count), (3.0, 0));
    }
}
