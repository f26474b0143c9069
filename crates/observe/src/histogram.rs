//! A histogram over a window: differenced buckets, and quantiles between their bounds.
//!
//! Buckets are cumulative and count since the process began, so a quantile of one snapshot is a
//! quantile of the whole life. Differences first, then interpolation.

use crate::labels::Labels;

/// Observations of a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    pub sum: f64,
    pub count: f64,
    /// Upper bounds, rising, the last one infinite, and the observations up to each.
    pub buckets: Vec<(f64, f64)>,
}

/// A quantile as far as buckets know it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantile {
    /// Interpolated linearly inside its bucket, as Prometheus' `histogram_quantile` does.
    pub value: f64,
    /// The bucket's lower bound: it is at least this.
    pub at_least: f64,
    /// The bucket's upper bound, infinite in the last one, where `value` is the lower bound.
    pub at_most: f64,
}

impl Histogram {
    /// Adds up the buckets of several series, which must have the same bounds.
    pub(crate) fn sum_of(series: &[(&Labels, f64)], sum: f64, count: f64) -> Result<Self, String> {
        // Bound, observations, series that have the bound.
        let mut buckets: Vec<(f64, f64, usize)> = Vec::new();
        for (labels, grown) in series {
            let text = labels.get("le").ok_or("a bucket has no label `le`")?;
            let bound: f64 = text.parse().map_err(|_| format!("`le=\"{text}\"` is no number"))?;
            if bound.is_nan() {
                return Err(format!("`le=\"{text}\"` is no bound"));
            }
            match buckets.iter_mut().find(|(known, _, _)| *known == bound) {
                Some((_, total, times)) => {
                    *total += grown;
                    *times += 1;
                }
                None => buckets.push((bound, *grown, 1)),
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let most = buckets.iter().map(|(_, _, times)| *times).max().unwrap_or(0);
        if let Some((bound, _, _)) = buckets.iter().find(|(_, _, times)| *times != most) {
            return Err(format!("not every series has a bucket up to {bound}"));
        }
        let buckets: Vec<_> = buckets.into_iter().map(|(bound, total, _)| (bound, total)).collect();
        if let Some(pair) = buckets.windows(2).find(|pair| pair[1].1 < pair[0].1) {
            let ((low, more), (high, fewer)) = (pair[0], pair[1]);
            return Err(format!("{more} observations up to {low}, but {fewer} up to {high}"));
        }
        match buckets.last() {
            Some((bound, total)) if *bound == f64::INFINITY && *total == count => {}
            Some((bound, _)) if *bound != f64::INFINITY => {
                return Err("the bucket up to infinity is missing".to_owned());
            }
            last => {
                let all = last.map_or(0.0, |(_, total)| *total);
                return Err(format!("{all} observations in the buckets, {count} counted"));
            }
        }
        Ok(Self { sum, count, buckets })
    }

    /// The mean; nothing without observations.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }

    /// The quantile `q` (0 to 1); nothing without observations.
    pub fn quantile(&self, q: f64) -> Option<Quantile> {
        if self.count <= 0.0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = q * self.count;
        let at = self.buckets.iter().position(|(_, total)| *total >= rank && *total > 0.0)?;
        let (upper, total) = self.buckets[at];
        let (lower, below) = match at.checked_sub(1) {
            Some(before) => self.buckets[before],
            // Observations are times and sizes: the first bucket begins at zero unless its bound
            // does not lie above it.
            None => (if upper > 0.0 { 0.0 } else { upper }, 0.0),
        };
        let value = if upper.is_finite() {
            let inside = ((rank - below) / (total - below)).clamp(0.0, 1.0);
            lower + (upper - lower) * inside
        } else {
            lower
        };
        Some(Quantile { value, at_least: lower, at_most: upper })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Exposition, Format, Line};

    fn labels(text: &str) -> Labels {
        let line = format!("x{{{text}}} 0\n");
        match Exposition::new(&line, Format::Text).next() {
            Some(Ok(Line::Sample(sample))) => Labels::of(&sample.labels),
            other => panic!("{other:?}"),
        }
    }

    fn histogram(series: &[(&str, f64)], count: f64) -> Result<Histogram, String> {
        let own: Vec<_> = series.iter().map(|(text, value)| (labels(text), *value)).collect();
        let borrowed: Vec<_> = own.iter().map(|(labels, value)| (labels, *value)).collect();
        Histogram::sum_of(&borrowed, 10.0, count)
    }

    #[test]
    fn quantiles_lie_between_the_bounds_of_their_bucket() {
        let of = [("le=\"1\"", 2.0), ("le=\"2.0\"", 6.0), ("le=\"+Inf\"", 8.0)];
        let seen = histogram(&of, 8.0).unwrap();
        assert_eq!(seen.mean(), Some(1.25));
        // Rank 4 of 8: half way through the bucket from 1 to 2, which holds ranks 2 to 6.
        let median = seen.quantile(0.5).unwrap();
        assert_eq!((median.value, median.at_least, median.at_most), (1.5, 1.0, 2.0));
        let last = seen.quantile(0.99).unwrap();
        assert_eq!((last.value, last.at_most), (2.0, f64::INFINITY));
        // The lowest rank stands at the lower end of the first bucket.
        assert_eq!(seen.quantile(0.0).unwrap().value, 0.0);
        assert_eq!(seen.quantile(1.5), None);
    }

    #[test]
    fn nothing_observed_has_no_quantile() {
        let of = [("le=\"1\"", 0.0), ("le=\"+Inf\"", 0.0)];
        let seen = histogram(&of, 0.0).unwrap();
        assert_eq!((seen.mean(), seen.quantile(0.5)), (None, None));
    }

    #[test]
    fn series_are_added_bound_by_bound_whatever_the_spelling() {
        let of = [
            ("engine=\"0\",le=\"1\"", 1.0),
            ("engine=\"0\",le=\"+Inf\"", 2.0),
            ("engine=\"1\",le=\"1.0\"", 3.0),
            ("engine=\"1\",le=\"+Inf\"", 3.0),
        ];
        let seen = histogram(&of, 5.0).unwrap();
        assert_eq!(seen.buckets, [(1.0, 4.0), (f64::INFINITY, 5.0)]);
    }

    #[test]
    fn contradictions_are_said() {
        let said = |series: &[(&str, f64)], count| histogram(series, count).unwrap_err();
        let nested = said(&[("le=\"1\"", 3.0), ("le=\"2\"", 2.0), ("le=\"+Inf\"", 3.0)], 3.0);
        assert_eq!(nested, "3 observations up to 1, but 2 up to 2");
        assert!(said(&[("le=\"1\"", 1.0)], 1.0).contains("infinity is missing"));
        assert!(said(&[("le=\"+Inf\"", 1.0)], 2.0).contains("1 observations in the buckets, 2"));
        assert!(said(&[("a=\"1\"", 1.0)], 1.0).contains("no label `le`"));
        assert!(said(&[("le=\"x\"", 1.0)], 1.0).contains("is no number"));
        let of = [
            ("engine=\"0\",le=\"1\"", 1.0),
            ("engine=\"0\",le=\"+Inf\"", 2.0),
            ("engine=\"1\",le=\"+Inf\"", 3.0),
        ];
        assert_eq!(said(&of, 5.0), "not every series has a bucket up to 1");
    }
}
