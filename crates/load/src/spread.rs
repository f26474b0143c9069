//! Distributions of times in constant memory.

use hdrhistogram::Histogram;
use weir_model::{Nanos, certificate::Spread};

/// Longer times count as this; no time-out is longer.
const LONGEST_NS: u64 = 24 * 3600 * 1_000_000_000;
/// Quantiles are off by at most 1 %; a histogram takes 40 KB.
const DIGITS: u8 = 2;

/// Mean and maximum are exact.
#[derive(Debug, Clone)]
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
}
