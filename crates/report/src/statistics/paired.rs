//! Differences of two arms at the same level, paired by repeat.
//!
//! Both arms of a repeat got the same requests (equal workload seed), so their difference is free
//! of what the seed alone changes.
//!
//! The change is the ratio of the two means, so it agrees with the figures beside it. A mean of the
//! pairs' ratios is biased upwards: a low control raises it by more than a high one lowers it. The
//! interval is that of the ratio estimator: with `R` the ratio of the means of the treatment's `y`
//! and the control's `x`, the variance of `R` is `sum((y - R x)^2) / (n (n - 1) mean(x)^2)` (W. G.
//! Cochran, "Sampling Techniques", 3rd edition, 1977, chapter 6), with Student's t for `n - 1`
//! degrees of freedom.

use serde::Serialize;

use super::CONFIDENCE;
use super::interval::{Interval, Method, mean, t_interval};

/// A relative difference in percent of the control.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// `100 * (mean of the treatment / mean of the control - 1)`, over the pairs.
    pub percent: f64,
    /// Absent with one pair.
    pub interval: Option<Interval>,
    pub pairs: usize,
}

impl Difference {
    /// Larger in size than `floor` percent, with an interval (if any) that excludes zero.
    pub fn is_distinguishable(&self, floor: f64) -> bool {
        self.percent.abs() > floor && self.interval.is_none_or(|interval| interval.excludes_zero())
    }
}

/// `100 * (value / base - 1)`: every change that Weir prints. None without a positive base.
pub fn change_percent(base: f64, value: f64) -> Option<f64> {
    (base > 0.0).then(|| 100.0 * (value / base - 1.0))
}

/// Pairs are (control, treatment). None without pairs, or where the control's mean is not positive.
pub fn paired_change(pairs: &[(f64, f64)]) -> Option<Difference> {
    let side = |pick: fn(&(f64, f64)) -> f64| mean(&pairs.iter().map(pick).collect::<Vec<_>>());
    let (control, treatment) = (side(|pair| pair.0)?, side(|pair| pair.1)?);
    let percent = change_percent(control, treatment)?;
    let ratio = treatment / control;
    // The parts' mean is the change; their spread gives the interval.
    let parts: Vec<f64> = pairs
        .iter()
        .map(|(control_of, treatment_of)| {
            percent + 100.0 * (treatment_of - ratio * control_of) / control
        })
        .collect();
    let interval = t_interval(&parts, CONFIDENCE, Method::PairedT);
    Some(Difference { percent, interval, pairs: pairs.len() })
}

#[cfg(test)]
mod tests {
    use rand_core::Rng;

    use super::*;
    use crate::statistics::peak::generator;

    #[test]
    fn pairs_take_out_what_the_seed_changes() {
        // The arms differ by 10 % in each repeat, while repeats differ by a factor of 3.
        let seen = paired_change(&[(100.0, 110.0), (200.0, 220.0), (300.0, 330.0)]).unwrap();
        assert!((seen.percent - 10.0).abs() < 1e-9);
        assert!(seen.interval.unwrap().half_width() < 1e-9);
        assert!(seen.is_distinguishable(1.0) && !seen.is_distinguishable(11.0));
    }

    /// Goodput of three repeats, mean 0.92 -> 1.73: +88 %, while the mean of the three ratios is
    /// +125.4 %.
    #[test]
    fn a_change_is_that_of_the_means_beside_it() {
        let seen = paired_change(&[(0.46, 1.72), (1.10, 1.74), (1.20, 1.73)]).unwrap();
        assert!((seen.percent - 100.0 * (1.73 / 0.92 - 1.0)).abs() < 1e-9, "{seen:?}");
        // R = 1.880435; y - R x = 0.855, -0.328478, -0.526522; sum of squares 1.116148;
        // standard error sqrt(1.116148 / 6) / 0.92 = 0.468811; t(0.975, 2) = 4.302653.
        let half = seen.interval.unwrap().half_width();
        assert!((half - 100.0 * 4.302_653 * 0.468_811).abs() < 1e-3, "{half}");
    }

    #[test]
    fn a_control_of_zero_in_one_repeat_counts() {
        assert_eq!(paired_change(&[(0.0, 5.0)]), None);
        assert_eq!(paired_change(&[]), None);
        let two = paired_change(&[(0.0, 5.0), (2.0, 1.0)]).unwrap();
        assert!((two.percent - 200.0).abs() < 1e-9 && two.pairs == 2, "{two:?}");
        let one = paired_change(&[(2.0, 1.0)]).unwrap();
        assert_eq!((one.percent, one.pairs, one.interval), (-50.0, 1, None));
    }

    #[test]
    fn intervals_over_few_repeats_hold_the_truth() {
        const TRIALS: usize = 2000;
        let mut random = generator(11);
        let mut uniform = || ((random.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        // Box-Muller transform.
        let mut normal = || {
            let length = libm::sqrt(-2.0 * libm::log(uniform()));
            length * libm::cos(std::f64::consts::TAU * uniform())
        };
        for (repeats, shared, noise) in [(2, 0.1, 0.05), (3, 0.3, 0.1), (5, 0.1, 0.2)] {
            let mut held = 0;
            for _ in 0..TRIALS {
                let pairs: Vec<(f64, f64)> = (0..repeats)
                    .map(|_| {
                        let of_seed = 100.0 * libm::exp(shared * normal());
                        let [one, other] = [0, 1].map(|_| libm::exp(noise * normal()));
                        (of_seed * one, 1.3 * of_seed * other)
                    })
                    .collect();
                let interval = paired_change(&pairs).unwrap().interval.unwrap();
                held += usize::from(interval.low <= 30.0 && 30.0 <= interval.high);
            }
            let share = held as f64 / TRIALS as f64;
            assert!((0.93..=0.965).contains(&share), "{repeats} repeats: {share}");
        }
    }
}
