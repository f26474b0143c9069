//! Differences of two arms at the same level, paired by repeat.
//!
//! Both arms of a repeat were asked the same (equal workload seed), so their difference is free
//! of what the seed alone changes.

use serde::Serialize;

use super::CONFIDENCE;
use super::interval::{Interval, Method, mean, t_interval};

/// A relative difference in percent of the control.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Mean over pairs of `100 * (treatment / control - 1)`.
    pub percent: f64,
    /// Its interval; absent with one pair.
    pub interval: Option<Interval>,
    /// Pairs it rests on.
    pub pairs: usize,
}

impl Difference {
    /// True when it is larger than `floor` percent (in size) and its interval, where there is
    /// one, excludes zero.
    pub fn is_distinguishable(&self, floor: f64) -> bool {
        self.percent.abs() > floor && self.interval.is_none_or(|interval| interval.excludes_zero())
    }
}

/// The relative difference of pairs (control, treatment); pairs whose control is not positive
/// say nothing and are left out. Nothing without pairs.
pub fn paired_change(pairs: &[(f64, f64)]) -> Option<Difference> {
    let changes: Vec<f64> = pairs
        .iter()
        .filter(|(control, _)| *control > 0.0)
        .map(|(control, treatment)| 100.0 * (treatment / control - 1.0))
        .collect();
    Some(Difference {
        percent: mean(&changes)?,
        interval: t_interval(&changes, CONFIDENCE, Method::PairedT),
        pairs: changes.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_take_out_what_the_seed_changes() {
        // The arms differ by 10 % in each repeat, while repeats differ by a factor of 3.
        let seen = paired_change(&[(100.0, 110.0), (200.0, 220.0), (300.0, 330.0)]).unwrap();
        assert!((seen.percent - 10.0).abs() < 1e-9);
        assert!(seen.interval.unwrap().half_width() < 1e-9);
        assert!(seen.is_distinguishable(1.0) && !seen.is_distinguishable(11.0));
    }

    #[test]
    fn a_pair_without_control_is_left_out() {
        assert_eq!(paired_change(&[(0.0, 5.0)]), None);
        let one = paired_change(&[(0.0, 5.0), (2.0, 1.0)]).unwrap();
        assert_eq!((one.percent, one.pairs, one.interval), (-50.0, 1, None));
    }
}
