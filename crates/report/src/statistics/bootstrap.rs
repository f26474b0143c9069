//! The bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and
//! 14), seeded.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::interval::{Interval, Method};
use super::student::{normal_cdf, normal_quantile};
use crate::figures::quantile;

/// Draws indices below `n`, by multiplication (bias below 2^-40 for any n in use here).
pub(super) fn draw(random: &mut Xoshiro256PlusPlus, n: usize) -> usize {
    ((u128::from(random.next_u64()) * n as u128) >> 64) as usize
}

pub(super) fn generator(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}

fn resampled(
    values: &[f64],
    statistic: &impl Fn(&[f64]) -> f64,
    replicates: usize,
    seed: u64,
) -> Vec<f64> {
    let mut random = generator(seed);
    let mut sample = vec![0.0; values.len()];
    let mut estimates = Vec::with_capacity(replicates);
    for _ in 0..replicates {
        sample.fill_with(|| values[draw(&mut random, values.len())]);
        estimates.push(statistic(&sample));
    }
    estimates.sort_unstable_by(f64::total_cmp);
    estimates
}

/// Percentile interval from estimates that were resampled by the caller (they are sorted here).
pub(super) fn percentile_of(
    estimates: &mut [f64],
    confidence: f64,
    observations: usize,
) -> Option<Interval> {
    estimates.sort_unstable_by(f64::total_cmp);
    let tail = 0.5 - confidence / 2.0;
    Some(Interval {
        low: quantile(estimates, tail)?,
        high: quantile(estimates, 1.0 - tail)?,
        method: Method::PercentileBootstrap,
        observations,
    })
}

/// Percentile bootstrap of any statistic; nothing for fewer than two values.
pub fn percentile(
    values: &[f64],
    statistic: impl Fn(&[f64]) -> f64,
    confidence: f64,
    replicates: usize,
    seed: u64,
) -> Option<Interval> {
    if values.len() < 2 {
        return None;
    }
    let mut estimates = resampled(values, &statistic, replicates, seed);
    percentile_of(&mut estimates, confidence, values.len())
}

/// Bias-corrected and accelerated bootstrap of any statistic; nothing for fewer than three
/// values. Where the statistic does not vary, both ends are the estimate.
pub fn bca(
    values: &[f64],
    statistic: impl Fn(&[f64]) -> f64,
    confidence: f64,
    replicates: usize,
    seed: u64,
) -> Option<Interval> {
    let observations = values.len();
    if observations < 3 || replicates == 0 {
        return None;
    }
    let estimate = statistic(values);
    let estimates = resampled(values, &statistic, replicates, seed);
    let below = estimates.iter().filter(|&&value| value < estimate).count() as f64;
    let equal = estimates.iter().filter(|&&value| value == estimate).count() as f64;
    let share = (below + 0.5 * equal) / replicates as f64;
    if equal as usize == replicates || share <= 0.0 || share >= 1.0 {
        let (low, high) = (estimates[0].min(estimate), estimates[replicates - 1].max(estimate));
        return Some(Interval { low, high, method: Method::BcaBootstrap, observations });
    }
    let bias = normal_quantile(share);
    let acceleration = acceleration(values, &statistic);
    let tail = 0.5 - confidence / 2.0;
    let end = |p: f64| {
        let z = bias + normal_quantile(p);
        quantile(&estimates, normal_cdf(bias + z / (1.0 - acceleration * z)))
    };
    let (low, high) = (end(tail)?, end(1.0 - tail)?);
    Some(Interval { low, high, method: Method::BcaBootstrap, observations })
}

/// Skewness of the jackknife estimates, divided by 6 (equation 14.15 of the book).
fn acceleration(values: &[f64], statistic: &impl Fn(&[f64]) -> f64) -> f64 {
    let mut left_out = Vec::with_capacity(values.len());
    let jackknife: Vec<f64> = (0..values.len())
        .map(|without| {
            left_out.clear();
            left_out.extend_from_slice(&values[..without]);
            left_out.extend_from_slice(&values[without + 1..]);
            statistic(&left_out)
        })
        .collect();
    let centre = jackknife.iter().sum::<f64>() / jackknife.len() as f64;
    let (mut squares, mut cubes) = (0.0, 0.0);
    for value in jackknife {
        let gap = centre - value;
        squares += gap * gap;
        cubes += gap * gap * gap;
    }
    if squares == 0.0 { 0.0 } else { cubes / (6.0 * squares * libm::sqrt(squares)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spatial test data, task A, of 26 neurologically impaired children (the book, table 14.1).
    const SPATIAL: [f64; 26] = [
        48.0, 36.0, 20.0, 29.0, 42.0, 42.0, 20.0, 42.0, 22.0, 41.0, 45.0, 14.0, 6.0, 0.0, 33.0,
        28.0, 34.0, 4.0, 32.0, 24.0, 47.0, 41.0, 24.0, 26.0, 30.0, 41.0,
    ];

    fn variance(values: &[f64]) -> f64 {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / values.len() as f64
    }

    #[test]
    fn intervals_equal_the_books_example() {
        // Table 14.2, 90 % intervals of the plug-in variance 171.5, 2000 replicates:
        // percentile (100.8, 233.9), BCa (115.8, 259.6), acceleration 0.061. The book's own
        // replicates are random, so ends agree within a few units.
        assert!((variance(&SPATIAL) - 171.5).abs() < 0.1);
        assert!((acceleration(&SPATIAL, &variance) - 0.061).abs() < 0.001);
        let plain = percentile(&SPATIAL, variance, 0.9, 20_000, 1).unwrap();
        assert!((plain.low - 100.8).abs() < 4.0 && (plain.high - 233.9).abs() < 4.0, "{plain:?}");
        let corrected = bca(&SPATIAL, variance, 0.9, 20_000, 1).unwrap();
        assert!((corrected.low - 115.8).abs() < 5.0, "{corrected:?}");
        assert!((corrected.high - 259.6).abs() < 6.0, "{corrected:?}");
    }

    #[test]
    fn equal_seeds_give_equal_intervals() {
        let one = bca(&SPATIAL, variance, 0.95, 500, 7);
        assert_eq!(one, bca(&SPATIAL, variance, 0.95, 500, 7));
        assert_ne!(one, bca(&SPATIAL, variance, 0.95, 500, 8));
        let equal = bca(&[4.0; 5], variance, 0.95, 100, 7).unwrap();
        assert_eq!((equal.low, equal.high), (0.0, 0.0));
    }
}
