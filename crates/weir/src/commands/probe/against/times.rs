//! The ratio of A's figure to B's, and both sides of a row.

use serde_json::{Value, json};
use weir_model::LoadedFrom;
use weir_probe::against::{Facet, lookup_pairs, pairs, pairs_over_points};
use weir_probe::fit::LookupTime;
use weir_probe::session::label;
use weir_probe::statistics::Repeated;
use weir_probe::{PointResult, ProbeMeasurements, Report};
use weir_report::statistics::paired_change;

use super::super::summary::figure;

/// A's figure over B's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Times {
    /// Of the means over the repeats.
    pub(super) ratio: f64,
    /// 95 %; None with one repeat.
    pub(super) interval: Option<(f64, f64)>,
    pub(super) pairs: usize,
}

impl Times {
    /// Of pairs (A, B), by the ratio estimator that compares arms.
    pub(super) fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let turned: Vec<(f64, f64)> = pairs.iter().map(|(a, b)| (*b, *a)).collect();
        let change = paired_change(&turned)?;
        let times = |percent: f64| 1.0 + percent / 100.0;
        let interval = change.interval.map(|of| (times(of.low).max(0.0), times(of.high)));
        Some(Self { ratio: times(change.percent), interval, pairs: change.pairs })
    }

    pub(super) fn json(&self) -> Value {
        let Self { ratio, interval, pairs } = self;
        json!({"ratio": ratio, "interval": interval, "pairs": pairs})
    }

    pub(super) fn range(&self) -> String {
        self.interval
            .map_or("-".to_owned(), |(low, high)| format!("{} to {}", figure(low), figure(high)))
    }

    /// The geometric mean over all points of each repeat.
    pub(super) fn over_points(measured: &[&ProbeMeasurements; 2], facet: Facet) -> Option<Self> {
        Self::of(&pairs_over_points(measured, facet))
    }

    #[must_use]
    pub(super) fn scaled(&self, by: f64) -> Self {
        let interval = self.interval.map(|(low, high)| (low * by, high * by));
        Self { ratio: self.ratio * by, interval, pairs: self.pairs }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Face {
    pub(super) label: String,
    /// GB/s, or keys per second of lookups.
    pub(super) rate: Repeated,
    /// None where nothing was loaded.
    pub(super) from: Option<LoadedFrom>,
}

#[derive(Debug, Clone)]
pub(super) struct Faced {
    pub(super) facet: Facet,
    pub(super) a: Face,
    pub(super) b: Face,
    /// Over the repeats that both have; `times` is their ratio.
    pub(super) means: (f64, f64),
    pub(super) times: Times,
}

impl Faced {
    /// Once where both sides have the same.
    pub(super) fn label(&self) -> String {
        let (own, other) = (&self.a.label, &self.b.label);
        if own == other { own.clone() } else { format!("{own} / {other}") }
    }
}

pub(super) fn faced(reports: &[Report; 2]) -> Vec<Faced> {
    let [first, second] = reports;
    let points = first.measured.points.iter().zip(&second.measured.points);
    let of_points = points.flat_map(|(a, b)| {
        Facet::ALL.into_iter().filter_map(move |facet| {
            let pairs = pairs(a, b, facet);
            let (times, means) = (Times::of(&pairs)?, means(&pairs));
            Some(Faced { facet, a: of_point(a, facet)?, b: of_point(b, facet)?, means, times })
        })
    });
    let lookups = first.measured.lookups.iter().zip(&second.measured.lookups);
    let of_lookups = lookups.filter_map(|(a, b)| {
        let pairs = lookup_pairs(a, b);
        let (times, means) = (Times::of(&pairs)?, means(&pairs));
        let face = |time, report: &Report| of_lookup(time, report);
        Some(Faced { facet: Facet::Lookup, a: face(a, first)?, b: face(b, second)?, means, times })
    });
    of_points.chain(of_lookups).collect()
}

fn means(pairs: &[(f64, f64)]) -> (f64, f64) {
    let (a, b) = pairs.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let count = pairs.len().max(1) as f64;
    (a / count, b / count)
}

fn of_point(result: &PointResult, facet: Facet) -> Option<Face> {
    let side = match facet {
        Facet::Read => result.read.as_ref(),
        Facet::Write => result.write.as_ref(),
        Facet::Lookup => None,
    };
    Some(Face {
        label: label(&result.point),
        rate: side?.gb_per_s,
        from: result.loaded_from.filter(|_| facet == Facet::Read),
    })
}

fn of_lookup(time: &LookupTime, report: &Report) -> Option<Face> {
    let keys = if time.keys == 1 { "1 key".to_owned() } else { format!("{} keys", time.keys) };
    let read = time.device_bytes_per_byte.filter(|share| *share >= 0.005);
    Some(Face {
        label: format!("{keys} of {}", report.largest_block()),
        rate: Repeated::of(time.rates())?,
        from: read.map(|share| LoadedFrom::Device { percent: 100.0 * share.min(1.0) }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_that_of_the_means_with_the_interval_of_changes() {
        // A is 1.5 times B in every repeat, while repeats differ by a factor of 3.
        let even = Times::of(&[(1.5, 1.0), (3.0, 2.0), (4.5, 3.0)]).unwrap();
        let (low, high) = even.interval.unwrap();
        assert!((even.ratio - 1.5).abs() < 1e-9 && (high - low).abs() < 1e-9, "{even:?}");
        assert_eq!(Times::of(&[(3.0, 2.0)]).unwrap().interval, None);
        assert_eq!(Times::of(&[]), None);
        let noisy = Times::of(&[(1.0, 1.0), (3.0, 1.0), (0.1, 1.0)]).unwrap();
        let (low, high) = noisy.interval.unwrap();
        assert!(low >= 0.0 && low < noisy.ratio && noisy.ratio < high, "{noisy:?}");
    }
}
