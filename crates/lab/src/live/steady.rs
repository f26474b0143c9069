//! From when on a load was steady.
//!
//! Work in progress rises at first: caches are cold, users start. Computed tokens (uncached prompt
//! tokens and outputs) are summed over equal parts of the load, by the end of the requests. MSER
//! (White 1997, "An effective truncation heuristic for bias reduction in simulation output")
//! leaves out the first parts so that the standard error of the mean of the rest is least. Where
//! that is more than half, no steady part was found.

use weir_model::{Nanos, Outcome, RequestRow, Window};

const PART: Nanos = Nanos::from_millis(500);
/// Parts of a usable series.
const FEWEST: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Pace {
    parts: Vec<f64>,
}

impl Pace {
    pub(crate) fn add(&mut self, row: &RequestRow) {
        if row.outcome != Outcome::Done {
            return;
        }
        let part = (row.end.0 / PART.0) as usize;
        if part >= self.parts.len() {
            // Bounds the memory where a clock is wrong.
            if part > 10_000_000 {
                return;
            }
            self.parts.resize(part + 1, 0.0);
        }
        self.parts[part] += f64::from(row.output_tokens.0);
    }

    /// Start of the steady part, up to the end of the window; None where there is none. Loads too
    /// short to judge count as steady from their window on.
    pub(crate) fn steady_from(&self, window: Window) -> Option<Nanos> {
        let last = ((window.end.0 / PART.0) as usize).min(self.parts.len());
        let parts = &self.parts[..last];
        if parts.len() < 2 * FEWEST {
            return Some(window.start);
        }
        let left_out = mser(parts)?;
        Some(Nanos(PART.0 * left_out as u64))
    }
}

/// First parts to leave out; None for more than half.
fn mser(parts: &[f64]) -> Option<usize> {
    let (mut sum, mut squares) = (0.0, 0.0);
    let mut best = (f64::INFINITY, 0);
    for (at, value) in parts.iter().enumerate().rev() {
        sum += value;
        squares += value * value;
        let count = (parts.len() - at) as f64;
        if parts.len() - at < FEWEST {
            continue;
        }
        let error = (squares - sum * sum / count).max(0.0) / (count * count);
        // Of equal ones the longest rest.
        if error <= best.0 {
            best = (error, at);
        }
    }
    (best.1 <= parts.len() / 2).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cold_start_is_left_out() {
        let noise = |at: usize| 100.0 + (at * 37 % 11) as f64;
        let series: Vec<f64> =
            (0..60).map(|at| if at < 12 { at as f64 * 4.0 } else { noise(at) }).collect();
        let left_out = mser(&series).unwrap();
        assert!((11..=14).contains(&left_out), "{left_out}");
        let flat: Vec<f64> = (0..60).map(noise).collect();
        assert!(mser(&flat).unwrap() <= 3);
    }

    #[test]
    fn a_load_that_rises_to_its_end_is_never_steady() {
        let series: Vec<f64> = (0..60).map(|at| (at * at) as f64).collect();
        assert_eq!(mser(&series), None);
    }
}
