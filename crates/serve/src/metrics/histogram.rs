//! A histogram of whole numbers. Times stay nanoseconds until printed, so recording is a search
//! among some twenty integers and two additions.

use std::sync::Arc;

use super::page::number;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Nanoseconds, printed as seconds.
    Seconds,
    /// Printed unchanged.
    Count,
}

impl Unit {
    pub(super) fn printed(self, value: u64) -> f64 {
        match self {
            Self::Seconds => value as f64 / 1e9,
            Self::Count => value as f64,
        }
    }
}

/// Upper bounds, shared by all histograms of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bounds {
    unit: Unit,
    values: Arc<[u64]>,
}

impl Bounds {
    pub(super) fn seconds(bounds: &[f64]) -> Self {
        let values = bounds.iter().map(|bound| (bound * 1e9).round() as u64).collect();
        Self { unit: Unit::Seconds, values }
    }

    /// In the unit itself.
    pub(super) fn counts(bounds: &[u64]) -> Self {
        Self { unit: Unit::Count, values: bounds.into() }
    }

    /// 1, 2, 5, 10, 20, ... up to `most`: vLLM's series for token counts.
    pub(super) fn one_two_five(most: u64) -> Self {
        let decades = std::iter::successors(Some(1_u64), |decade| decade.checked_mul(10));
        let values = decades
            .flat_map(|decade| [1, 2, 5].map(|mantissa| decade.saturating_mul(mantissa)))
            .take_while(|bound| *bound <= most)
            .collect();
        Self { unit: Unit::Count, values }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Histogram {
    bounds: Bounds,
    /// One more than bounds: the last counts what exceeds them all.
    counts: Box<[u64]>,
    sum: u64,
}

impl Histogram {
    pub(super) fn new(bounds: &Bounds) -> Self {
        let counts = vec![0; bounds.values.len() + 1].into_boxed_slice();
        Self { bounds: bounds.clone(), counts, sum: 0 }
    }

    pub(super) fn record(&mut self, value: u64) {
        self.record_many(value, 1);
    }

    pub(super) fn record_many(&mut self, value: u64, times: u64) {
        let bucket = self.bounds.values.partition_point(|bound| *bound < value);
        self.counts[bucket] += times;
        self.sum = self.sum.saturating_add(value.saturating_mul(times));
    }

    /// Text of `le`, and the count of all values up to it.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        let unit = self.bounds.unit;
        let texts = self.bounds.values.iter().map(move |bound| number(unit.printed(*bound)));
        let mut total = 0;
        texts.chain(std::iter::once("+Inf".to_owned())).zip(&self.counts).map(
            move |(text, count)| {
                total += count;
                (text, total)
            },
        )
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// In the printed unit.
    pub(super) fn sum(&self) -> f64 {
        self.bounds.unit.printed(self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let mut histogram = Histogram::new(&Bounds::seconds(&[0.001, 0.005, 0.01]));
        histogram.record(1_000_000);
        histogram.record(1_000_001);
        histogram.record_many(20_000_000, 3);
        let counts: Vec<u64> = histogram.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 2, 2, 5]);
        assert_eq!(histogram.count(), 5);
        assert!((histogram.sum() - 0.062_000_001).abs() < 1e-12);
    }

    #[test]
    fn token_bounds_stop_at_the_longest_context() {
        let bounds = Bounds::one_two_five(16_384);
        let texts: Vec<String> =
            Histogram::new(&bounds).cumulative().map(|(text, _)| text).collect();
        assert_eq!(texts.first().map(String::as_str), Some("1.0"));
        assert_eq!(texts[texts.len() - 2..], ["10000.0", "+Inf"]);
        assert_eq!(bounds.values.len(), 13);
    }
}
