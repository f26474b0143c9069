//! Distributions of times in constant memory.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use weir_model::{Nanos, certificate::Spread};

/// Longer times count as this; no time-out is longer.
const LONGEST_NS: u64 = 24 * 3600 * 1_000_000_000;
/// Quantiles are off by at most 1 %; a histogram takes 40 KB.
const DIGITS: u8 = 2;

/// Mean and maximum are exact.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Buckets", into = "Buckets")]
pub(crate) struct SpreadTally {
    histogram: Histogram<u64>,
    sum_ns: u128,
    max: Nanos,
}

impl Default for SpreadTally {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS)
            .expect("the bounds and digits are within what a histogram takes");
        Self { histogram, sum_ns: 0, max: Nanos::ZERO }
    }
}

/// A tally on its way to another process, where tallies are added without loss.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Buckets {
    /// A value of each bucket that holds any, in nanoseconds, and their number.
    counts: Vec<(u64, u64)>,
    /// Upper and lower half: JSON readers keep 64 bits.
    sum_ns: (u64, u64),
    max: Nanos,
}

impl From<SpreadTally> for Buckets {
    fn from(tally: SpreadTally) -> Self {
        let counts = tally.histogram.iter_recorded();
        Self {
            counts: counts.map(|at| (at.value_iterated_to(), at.count_at_value())).collect(),
            sum_ns: ((tally.sum_ns >> 64) as u64, tally.sum_ns as u64),
            max: tally.max,
        }
    }
}

impl From<Buckets> for SpreadTally {
    fn from(buckets: Buckets) -> Self {
        let mut tally = Self::default();
        for (value, count) in buckets.counts {
            tally.histogram.saturating_record_n(value, count);
        }
        tally.sum_ns = u128::from(buckets.sum_ns.0) << 64 | u128::from(buckets.sum_ns.1);
        tally.max = buckets.max;
        tally
    }
}

impl SpreadTally {
    pub(crate) fn record(&mut self, time: Nanos) {
        self.record_many(time, 1);
    }

    pub(crate) fn record_many(&mut self, time: Nanos, times: u64) {
        self.histogram.saturating_record_n(time.get(), times);
        self.sum_ns += u128::from(time.get()) * u128::from(times);
        self.max = self.max.max(time);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("all histograms have the same bounds");
        self.sum_ns += other.sum_ns;
        self.max = self.max.max(other.max);
    }

    pub(crate) fn spread(&self) -> Spread {
        let count = self.histogram.len();
        // A quantile is the upper end of its bucket, perhaps above the largest value.
        let quantile = |q| Nanos(self.histogram.value_at_quantile(q)).min(self.max);
        Spread {
            count,
            mean: Nanos((self.sum_ns / u128::from(count.max(1))) as u64),
            p50: quantile(0.5),
            p99: quantile(0.99),
            max: self.max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_percent_and_the_rest_is_exact() {
        let mut tally = SpreadTally::default();
        for value in 1..=1000u64 {
            tally.record(Nanos(value * 1_000_000));
        }
        let mut other = SpreadTally::default();
        other.record_many(Nanos(LONGEST_NS * 2), 1);
        let spread = tally.spread();
        assert_eq!((spread.count, spread.max), (1000, Nanos(1_000_000_000)));
        assert_eq!(spread.mean, Nanos(500_500_000));
        assert!((spread.p50.get() as f64 / 500e6 - 1.0).abs() < 0.02);
        assert!((spread.p99.get() as f64 / 990e6 - 1.0).abs() < 0.02);
        tally.add(&other);
        assert_eq!((tally.spread().count, tally.spread().max), (1001, Nanos(LONGEST_NS * 2)));
        assert_eq!(SpreadTally::default().spread(), Spread::default());
    }

    #[test]
    fn a_tally_survives_the_way_to_another_process() {
        let (mut first, mut second) = (SpreadTally::default(), SpreadTally::default());
        for value in 0..5000u64 {
            first.record(Nanos(value * value * 977));
            second.record_many(Nanos(value * 13), value);
        }
        first.record_many(Nanos(LONGEST_NS * 2), 3);
        let sent = serde_json::to_string(&first).unwrap();
        let mut there: SpreadTally = serde_json::from_str(&sent).unwrap();
        assert_eq!(there.spread(), first.spread());
        there.add(&second);
        first.add(&second);
        assert_eq!(there.spread(), first.spread());
    }
}
