//! Exact quantiles and the distributions made of them.
//!
//! Quantiles are Hyndman and Fan's type 7 (The American Statistician 50(4), 1996; the default of R
//! and NumPy): with `h = (n - 1) p`, interpolate between the order statistics `floor(h)` and
//! `floor(h) + 1`, counted from 0.

use weir_record::Distribution;

/// Type-7 quantile of values in ascending order; None without values. `p` is clamped to 0..=1.
pub fn quantile(sorted: &[f64], p: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let h = last as f64 * p.clamp(0.0, 1.0);
    let below = (h.floor() as usize).min(last);
    let above = (below + 1).min(last);
    Some(interpolate(sorted[below], sorted[above], h - h.floor()))
}

fn interpolate(below: f64, above: f64, fraction: f64) -> f64 {
    below + fraction * (above - below)
}

/// Sorts `values` in place. All zero without values.
pub fn distribution(values: &mut [f64]) -> Distribution {
    values.sort_unstable_by(f64::total_cmp);
    let at = |p| quantile(values, p).unwrap_or(0.0);
    let count = values.len() as u64;
    if count == 0 {
        return Distribution::default();
    }
    let mean = values.iter().sum::<f64>() / count as f64;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    Distribution {
        count,
        mean,
        stddev: standard_deviation(squares, count),
        min: values[0],
        p50: at(0.50),
        p90: at(0.90),
        p95: at(0.95),
        p99: at(0.99),
        max: values[values.len() - 1],
    }
}

/// Each value stands for `weight` equal observations. Sorts `pairs` in place; a weight of zero is
/// no observation.
pub fn weighted_distribution(pairs: &mut [(f64, u64)]) -> Distribution {
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let count: u64 = pairs.iter().map(|pair| pair.1).sum();
    if count == 0 {
        return Distribution::default();
    }
    let total: f64 = pairs.iter().map(|&(value, weight)| value * weight as f64).sum();
    let mean = total / count as f64;
    let squares: f64 =
        pairs.iter().map(|&(value, weight)| (value - mean) * (value - mean) * weight as f64).sum();
    let [min, p50, p90, p95, p99, max] =
        weighted_quantiles(pairs, count, [0.0, 0.50, 0.90, 0.95, 0.99, 1.0]);
    let stddev = standard_deviation(squares, count);
    Distribution { count, mean, stddev, min, p50, p90, p95, p99, max }
}

fn standard_deviation(squares: f64, count: u64) -> f64 {
    if count < 2 { 0.0 } else { libm::sqrt(squares / (count - 1) as f64) }
}

/// Type-7 quantiles of the expanded multiset, for ascending `ps`, in one sweep.
fn weighted_quantiles<const N: usize>(sorted: &[(f64, u64)], count: u64, ps: [f64; N]) -> [f64; N] {
    let mut cursor = Cursor { sorted, place: 0, seen: 0 };
    ps.map(|p| {
        let h = (count - 1) as f64 * p;
        let below_rank = (h.floor() as u64).min(count - 1);
        let below = cursor.value_at(below_rank);
        // Look ahead from a copy: the next quantile may start at the same rank.
        let above = cursor.clone().value_at((below_rank + 1).min(count - 1));
        interpolate(below, above, h - h.floor())
    })
}

#[derive(Clone)]
struct Cursor<'a> {
    sorted: &'a [(f64, u64)],
    place: usize,
    seen: u64,
}

impl Cursor<'_> {
    /// Ranks count from 0 and must not fall from call to call.
    fn value_at(&mut self, rank: u64) -> f64 {
        while self.seen + self.sorted[self.place].1 <= rank {
            self.seen += self.sorted[self.place].1;
            self.place += 1;
        }
        self.sorted[self.place].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_equal_those_of_r() {
        // quantile(c(1, 3, 4, 10, 20), c(.1, .25, .5, .9), type = 7)
        let sorted = [1.0, 3.0, 4.0, 10.0, 20.0];
        assert_eq!(quantile(&sorted, 0.1), Some(1.8));
        assert_eq!(quantile(&sorted, 0.25), Some(3.0));
        assert_eq!(quantile(&sorted, 0.5), Some(4.0));
        assert_eq!(quantile(&sorted, 0.9), Some(16.0));
        assert_eq!(quantile(&sorted, 1.0), Some(20.0));
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
    }

    #[test]
    fn a_distribution_has_the_sample_deviation() {
        let mut values = [8.0, 2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0, 2.0];
        let seen = distribution(&mut values);
        assert_eq!((seen.count, seen.mean, seen.min, seen.max), (10, 5.0, 2.0, 9.0));
        // Sum of squares 50, divided by 9.
        assert!((seen.stddev - (50.0_f64 / 9.0).sqrt()).abs() < 1e-12);
        assert_eq!(distribution(&mut []), Distribution::default());
        assert_eq!(weighted_distribution(&mut [(3.0, 0)]), Distribution::default());
    }

    proptest! {
        #[test]
        fn weights_equal_the_written_out_values(
            pairs in prop::collection::vec((0_u32..50, 0_u64..6), 1..40),
        ) {
            let mut pairs: Vec<(f64, u64)> =
                pairs.into_iter().map(|(value, weight)| (f64::from(value), weight)).collect();
            let mut written: Vec<f64> = pairs
                .iter()
                .flat_map(|&(value, weight)| std::iter::repeat_n(value, weight as usize))
                .collect();
            let expected = distribution(&mut written);
            let seen = weighted_distribution(&mut pairs);
            for (a, b) in [
                (expected.mean, seen.mean), (expected.stddev, seen.stddev),
                (expected.min, seen.min), (expected.p50, seen.p50), (expected.p90, seen.p90),
                (expected.p95, seen.p95), (expected.p99, seen.p99), (expected.max, seen.max),
            ] {
                prop_assert!((a - b).abs() < 1e-9, "{a} {b}");
            }
            prop_assert_eq!(expected.count, seen.count);
        }
    }
}
