//! Repeats as median and spread.

use serde::Serialize;

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Repeated {
    /// For an even count, the mean of the middle two.
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Repeated {
    /// None without values; non-finite values are ignored.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Self { median, low, high })
    }

    pub const fn once(value: f64) -> Self {
        Self { median: value, low: value, high: value }
    }

    /// From the smallest to the largest, in percent of the median.
    pub fn spread_percent(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { 100.0 * (self.high - self.low) / self.median.abs() }
    }

    /// `of` must be monotonic.
    #[must_use]
    pub fn map(&self, of: impl Fn(f64) -> f64) -> Self {
        let (low, high) = (of(self.low), of(self.high));
        Self { median: of(self.median), low: low.min(high), high: low.max(high) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_the_spread_is_relative() {
        let odd = Repeated::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!(odd, Repeated { median: 2.0, low: 1.0, high: 3.0 });
        assert_eq!(odd.spread_percent(), 100.0);
        assert_eq!(Repeated::of([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Repeated::of([f64::NAN, 7.0]), Some(Repeated::once(7.0)));
        assert_eq!(Repeated::of([]), None);
        let inverse = odd.map(|value| 1.0 / value);
        assert_eq!(inverse, Repeated { median: 0.5, low: 1.0 / 3.0, high: 1.0 });
    }
}
