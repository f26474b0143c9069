//! The peak over levels, with the uncertainty of choosing it.
//!
//! The best of several noisy levels is higher than the truth on average, and another level might
//! have won. So repeats are resampled and the level is chosen again in each replicate: the interval
//! covers the choice, and the shares say how often each level wins. The bootstrap is that of
//! percentiles (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Serialize;

use super::CONFIDENCE;
use super::interval::{Interval, Method, mean};
use super::paired::change_percent;
use crate::figures::quantile;

const REPLICATES: usize = 2000;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Peak {
    pub level: usize,
    /// Mean over its repeats.
    pub value: f64,
    /// Bootstrap of the selection; absent with one repeat.
    pub interval: Option<Interval>,
    /// Share of the replicates in which each level won, by index; empty with one repeat.
    pub selection: Vec<f64>,
    pub repeats: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PeakChange {
    /// `100 * (treatment's peak / control's peak - 1)`.
    pub percent: f64,
    /// Bootstrap of both selections; absent with one repeat.
    pub interval: Option<Interval>,
}

/// `levels`: per level its values over repeats, empty without results.
pub fn peak(levels: &[Vec<f64>], seed: u64) -> Option<Peak> {
    let (level, value) = highest(levels.iter().map(|values| mean(values)))?;
    let repeats = levels[level].len();
    if levels.iter().all(|values| values.len() < 2) {
        return Some(Peak { level, value, interval: None, selection: Vec::new(), repeats });
    }
    let mut random = generator(seed);
    let mut wins = vec![0_u32; levels.len()];
    let mut peaks = Vec::with_capacity(REPLICATES);
    for _ in 0..REPLICATES {
        let resampled = levels.iter().map(|values| {
            let drawn = (0..values.len()).map(|_| values[draw(&mut random, values.len())]);
            (!values.is_empty()).then(|| drawn.sum::<f64>() / values.len() as f64)
        });
        if let Some((winner, value)) = highest(resampled) {
            wins[winner] += 1;
            peaks.push(value);
        }
    }
    let selection = wins.into_iter().map(|won| f64::from(won) / REPLICATES as f64).collect();
    let interval = percentile_of(&mut peaks, CONFIDENCE, repeats);
    Some(Peak { level, value, interval, selection, repeats })
}

/// Values are per level and repeat; repeats are resampled jointly, because they share seeds.
pub fn peak_change(
    control: &[Vec<Option<f64>>],
    treatment: &[Vec<Option<f64>>],
    seed: u64,
) -> Option<PeakChange> {
    let repeats = control.iter().chain(treatment).map(Vec::len).max()?;
    let all: Vec<usize> = (0..repeats).collect();
    let percent = change_over(control, treatment, &all)?;
    if repeats < 2 {
        return Some(PeakChange { percent, interval: None });
    }
    let mut random = generator(seed);
    let mut chosen = vec![0; repeats];
    let mut changes = Vec::with_capacity(REPLICATES);
    for _ in 0..REPLICATES {
        chosen.fill_with(|| draw(&mut random, repeats));
        changes.extend(change_over(control, treatment, &chosen));
    }
    Some(PeakChange { percent, interval: percentile_of(&mut changes, CONFIDENCE, repeats) })
}

fn change_over(
    control: &[Vec<Option<f64>>],
    treatment: &[Vec<Option<f64>>],
    repeats: &[usize],
) -> Option<f64> {
    let peak_of = |arm: &[Vec<Option<f64>>]| {
        highest(arm.iter().map(|level| {
            let values: Vec<f64> =
                repeats.iter().filter_map(|&at| level.get(at).copied().flatten()).collect();
            mean(&values)
        }))
    };
    let (_, base) = peak_of(control)?;
    let (_, value) = peak_of(treatment)?;
    change_percent(base, value)
}

/// The first of equals, with its index.
fn highest(values: impl Iterator<Item = Option<f64>>) -> Option<(usize, f64)> {
    let mut best: Option<(usize, f64)> = None;
    for (place, value) in values.enumerate() {
        if let Some(value) = value
            && best.is_none_or(|(_, held)| value > held)
        {
            best = Some((place, value));
        }
    }
    best
}

/// An index below `n`, by multiplication (bias below 2^-40 for any n in use here).
fn draw(random: &mut Xoshiro256PlusPlus, n: usize) -> usize {
    ((u128::from(random.next_u64()) * n as u128) >> 64) as usize
}

pub(super) fn generator(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}

/// Sorts the resampled estimates in place.
fn percentile_of(estimates: &mut [f64], confidence: f64, observations: usize) -> Option<Interval> {
    estimates.sort_unstable_by(f64::total_cmp);
    let tail = 0.5 - confidence / 2.0;
    Some(Interval {
        low: quantile(estimates, tail)?,
        high: quantile(estimates, 1.0 - tail)?,
        method: Method::PercentileBootstrap,
        observations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_levels_share_the_selection() {
        let levels =
            vec![vec![50.0, 51.0, 49.0], vec![100.0, 104.0, 96.0], vec![101.0, 97.0, 105.0]];
        let seen = peak(&levels, 1).unwrap();
        assert_eq!((seen.level, seen.value), (2, 101.0));
        assert_eq!(seen.selection[0], 0.0);
        assert!(seen.selection[1] > 0.2 && seen.selection[2] > 0.5, "{:?}", seen.selection);
        // The best of two is above either: the interval is higher than one level's alone.
        assert!(seen.interval.unwrap().low > 97.0);
        assert_eq!(peak(&levels, 1), peak(&levels, 1));
    }

    #[test]
    fn one_repeat_has_a_level_but_no_interval() {
        let seen = peak(&[vec![3.0], vec![], vec![9.0]], 1).unwrap();
        assert_eq!((seen.level, seen.value, seen.interval), (2, 9.0, None));
        assert_eq!(peak(&[vec![], vec![]], 1), None);
    }

    #[test]
    fn a_constant_factor_is_found_whatever_the_seeds_do() {
        let control = vec![vec![Some(10.0), Some(20.0), Some(15.0)], vec![Some(8.0), None, None]];
        let treatment: Vec<Vec<Option<f64>>> = control
            .iter()
            .map(|level| level.iter().map(|value| value.map(|v| v * 1.2)).collect())
            .collect();
        let seen = peak_change(&control, &treatment, 3).unwrap();
        assert!((seen.percent - 20.0).abs() < 1e-9);
        let interval = seen.interval.unwrap();
        assert!((interval.low - 20.0).abs() < 1e-9 && (interval.high - 20.0).abs() < 1e-9);
    }
}
