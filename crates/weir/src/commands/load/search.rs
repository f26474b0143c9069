//! The highest rate that meets the objectives: a bisection over a fixed grid of rates.
//!
//! With a fixed grid, a search is a run like others: it can be planned, resumed and repeated.

use weir_record::CellFigures;

use crate::cli::LoadArgs;
use crate::exit::Mistake;

/// Largest factor between neighbouring rates: the precision of the search.
const STEP: f64 = 1.05;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Search {
    low: f64,
    high: f64,
    /// Share of the requests that must meet the objectives.
    share: f64,
}

impl Search {
    pub(super) fn of(args: &LoadArgs) -> Result<Option<Self>, Mistake> {
        let Some(range) = &args.arrival.find_rate else { return Ok(None) };
        let objectives = &args.objectives;
        if [&objectives.slo_ttft, &objectives.slo_tpot, &objectives.slo_e2e]
            .iter()
            .all(|objective| objective.is_none())
        {
            return Err(Mistake(
                "--find-rate: an objective is required; add --slo-ttft, --slo-tpot or \
                 --slo-e2e"
                    .to_owned(),
            ));
        }
        let share = objectives.slo_share;
        if !(share > 0.0 && share <= 1.0) {
            return Err(Mistake(format!("--slo-share {share}: write a share, such as 0.95")));
        }
        let numbers = range.split_once("..").and_then(|(low, high)| {
            Some((low.trim().parse::<f64>().ok()?, high.trim().parse::<f64>().ok()?))
        });
        match numbers {
            Some((low, high)) if low > 0.0 && high > low && high <= 1e6 => {
                Ok(Some(Self { low, high, share }))
            }
            _ => Err(Mistake(format!(
                "--find-rate {range}: write a range of rates per second, such as `1..64`"
            ))),
        }
    }

    /// False at a rate that the generator itself did not reach.
    pub(super) fn is_met(&self, figures: &CellFigures) -> bool {
        let refused = figures.certificate.as_ref().is_some_and(|seen| seen.refused.is_some());
        !refused
            && figures.failed == 0
            && figures.goodput_share.is_some_and(|share| share >= self.share)
    }

    pub(super) const fn share(&self) -> f64 {
        self.share
    }
}

/// Ascending, evenly spaced in their logarithm, rounded to three digits.
pub(super) fn rates(search: &Search) -> Vec<f64> {
    let steps = (libm::log(search.high / search.low) / libm::log(STEP)).ceil().max(1.0);
    let factor = libm::pow(search.high / search.low, 1.0 / steps);
    let mut rates: Vec<f64> = (0..=steps as u32)
        .map(|step| three_digits(search.low * libm::pow(factor, f64::from(step))))
        .collect();
    rates.dedup();
    rates
}

fn three_digits(value: f64) -> f64 {
    let digits = 2 - libm::log10(value).floor() as i32;
    let scale = 10f64.powi(digits.abs());
    if digits >= 0 { (value * scale).round() / scale } else { (value / scale).round() * scale }
}

/// The last index of an ascending grid where `is_met` holds, with the fewest tries. Starts with
/// the first. None where that fails or a try was interrupted.
pub(super) fn bisect<E>(
    places: usize,
    mut is_met: impl FnMut(usize) -> Result<Option<bool>, E>,
) -> Result<Option<usize>, E> {
    if places == 0 || is_met(0)? != Some(true) {
        return Ok(None);
    }
    let (mut met, mut missed) = (0, places);
    while missed - met > 1 {
        let middle = met + (missed - met) / 2;
        match is_met(middle)? {
            Some(true) => met = middle,
            Some(false) => missed = middle,
            None => return Ok(None),
        }
    }
    Ok(Some(met))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_spans_the_range_in_small_steps() {
        let grid = rates(&Search { low: 1.0, high: 64.0, share: 0.95 });
        assert_eq!((grid[0], grid[grid.len() - 1]), (1.0, 64.0));
        assert!(grid.windows(2).all(|pair| pair[1] > pair[0] && pair[1] / pair[0] < 1.06));
    }

    #[test]
    fn the_last_rate_that_meets_is_found_in_a_logarithm_of_tries() {
        for last in 0..87 {
            let mut tries = 0;
            let found = bisect(87, |place| {
                tries += 1;
                Ok::<_, ()>(Some(place <= last))
            });
            assert_eq!(found, Ok(Some(last)));
            assert!(tries <= 8, "{tries} tries");
        }
        assert_eq!(bisect(87, |_| Ok::<_, ()>(Some(false))), Ok(None));
        assert_eq!(bisect(0, |_| Ok::<_, ()>(Some(true))), Ok(None));
        assert_eq!(bisect(9, |_| Ok::<_, ()>(None)), Ok(None));
    }
}
