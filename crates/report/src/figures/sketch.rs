//! The distribution of very many times in bounded memory.

use hdrhistogram::Histogram;
use weir_model::Nanos;
use weir_record::Distribution;

use super::distribution::distribution;

/// Exact values that are kept (8 MiB): quantiles are exact up to this many.
pub const EXACT_VALUES: usize = 1 << 20;

/// Significant digits of quantiles beyond [`EXACT_VALUES`]: at most 0.01 % too high.
const DIGITS: u8 = 4;

/// Cap of times in quantiles beyond [`EXACT_VALUES`]: 13 days.
const LONGEST_NS: u64 = 1 << 50;

/// Count, mean, deviation, minimum and maximum are always exact. Quantiles are exact (type 7) up to
/// [`EXACT_VALUES`] values, and within 0.01 % beyond.
#[derive(Debug, Clone, Default)]
pub struct TimeSketch {
    count: u64,
    // Sums of differences from the first value: exact, and small deviations keep their precision.
    origin: i128,
    sum: i128,
    squares: u128,
    smallest: u64,
    largest: u64,
    exact: Vec<u64>,
    coarse: Option<Histogram<u64>>,
}

impl TimeSketch {
    pub fn add(&mut self, time: Nanos) {
        let value = time.0;
        if self.count == 0 {
            (self.origin, self.smallest, self.largest) = (i128::from(value), value, value);
        }
        self.count += 1;
        self.smallest = self.smallest.min(value);
        self.largest = self.largest.max(value);
        let difference = i128::from(value) - self.origin;
        self.sum += difference;
        self.squares = self.squares.saturating_add(difference.unsigned_abs().pow(2));
        match &mut self.coarse {
            Some(coarse) => coarse.saturating_record(value),
            None if self.exact.len() < EXACT_VALUES => self.exact.push(value),
            None => self.coarse = Some(self.coarsened(value)),
        }
    }

    /// Moves the exact values and one more into a histogram.
    fn coarsened(&mut self, value: u64) -> Histogram<u64> {
        let mut coarse = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS)
            .expect("0 to 5 digits and bounds further apart than a factor of two are valid");
        for kept in std::mem::take(&mut self.exact).into_iter().chain([value]) {
            coarse.saturating_record(kept);
        }
        coarse
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// All zero without values.
    pub fn distribution_ms(&self) -> Distribution {
        let Some(coarse) = &self.coarse else {
            let mut values: Vec<f64> = self.exact.iter().map(|&ns| ns as f64 / 1e6).collect();
            return distribution(&mut values);
        };
        let count = self.count as f64;
        let mean = self.sum as f64 / count;
        let variance = (self.squares as f64 - mean * self.sum as f64).max(0.0) / (count - 1.0);
        let at = |p| coarse.value_at_quantile(p).clamp(self.smallest, self.largest) as f64 / 1e6;
        Distribution {
            count: self.count,
            mean: (self.origin as f64 + mean) / 1e6,
            stddev: libm::sqrt(variance) / 1e6,
            min: self.smallest as f64 / 1e6,
            p50: at(0.50),
            p90: at(0.90),
            p95: at(0.95),
            p99: at(0.99),
            max: self.largest as f64 / 1e6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times around 10 ms without a pattern.
    fn noise(at: u64) -> u64 {
        10_000_000 + at.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 3_000_000
    }

    #[test]
    fn few_values_are_exact_and_many_within_a_hundredth_of_a_percent() {
        for (count, is_exact) in [(0, true), (1, false), (5000, false)]
            .map(|(extra, is_exact)| (EXACT_VALUES as u64 + extra, is_exact))
        {
            let mut sketch = TimeSketch::default();
            (0..count).for_each(|at| sketch.add(Nanos(noise(at))));
            let mut values: Vec<f64> = (0..count).map(|at| noise(at) as f64 / 1e6).collect();
            let expected = distribution(&mut values);
            let seen = sketch.distribution_ms();
            assert_eq!((seen.count, seen.min, seen.max), (count, expected.min, expected.max));
            let tolerance = if is_exact { 0.0 } else { 1e-4 };
            for (seen, expected) in [
                (seen.p50, expected.p50),
                (seen.p90, expected.p90),
                (seen.p95, expected.p95),
                (seen.p99, expected.p99),
            ] {
                assert!((seen / expected - 1.0).abs() <= tolerance, "{count}: {seen} {expected}");
            }
            assert!((seen.mean / expected.mean - 1.0).abs() < 1e-9);
            assert!((seen.stddev / expected.stddev - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn nothing_and_absurd_times_are_no_trouble() {
        assert_eq!(TimeSketch::default().distribution_ms(), Distribution::default());
        let mut sketch = TimeSketch::default();
        sketch.add(Nanos(u64::MAX));
        sketch.add(Nanos(0));
        assert_eq!(sketch.distribution_ms().max, u64::MAX as f64 / 1e6);
    }
}
