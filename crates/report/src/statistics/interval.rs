//! Confidence intervals of a mean.

use serde::Serialize;

use super::student::t_quantile;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Student's t over repeats.
    TOverRepeats,
    /// Student's t over batch means within one run.
    BatchMeans,
    /// Student's t over differences paired by repeat.
    PairedT,
    PercentileBootstrap,
}

impl Method {
    pub const fn name(self) -> &'static str {
        match self {
            Self::TOverRepeats => "t over repeats",
            Self::BatchMeans => "batch means within one run",
            Self::PairedT => "t over paired repeats",
            Self::PercentileBootstrap => "percentile bootstrap",
        }
    }
}

/// Two-sided, in the unit of its estimate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
    pub method: Method,
    /// Repeats, pairs or batches.
    pub observations: usize,
}

impl Interval {
    pub fn half_width(&self) -> f64 {
        0.5 * (self.high - self.low)
    }

    pub fn excludes_zero(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// None for fewer than two values.
pub fn t_interval(values: &[f64], confidence: f64, method: Method) -> Option<Interval> {
    let observations = values.len();
    if observations < 2 {
        return None;
    }
    let n = observations as f64;
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    let error = libm::sqrt(squares / (n - 1.0) / n);
    let half = t_quantile(0.5 + confidence / 2.0, n - 1.0) * error;
    Some(Interval { low: mean - half, high: mean + half, method, observations })
}

/// Interval of a mean within one run, from the means of consecutive equal batches: long batches are
/// nearly independent, single requests are not. None for fewer than five batches, whose t quantile
/// is too wide.
pub fn batch_means(batches: &[f64], confidence: f64) -> Option<Interval> {
    if batches.len() < 5 {
        return None;
    }
    t_interval(batches, confidence, Method::BatchMeans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_t_interval_equals_a_published_example() {
        // NIST/SEMATECH e-Handbook 1.3.5.2 (ZARR13.DAT): n 195, mean 9.261460, s 0.022789,
        // 95 % interval 9.258242 to 9.264679. Two-point data with that mean and deviation.
        let (n, centre, s) = (195_usize, 9.261_460, 0.022_789);
        // 97 pairs around the mean and one value on it have s^2 = 194 d^2 / 194 = d^2.
        let mut values = vec![centre];
        for _ in 0..97 {
            values.push(centre - s);
            values.push(centre + s);
        }
        assert_eq!(values.len(), n);
        let seen = t_interval(&values, 0.95, Method::TOverRepeats).unwrap();
        assert!((seen.low - 9.258_242).abs() < 1e-6, "{seen:?}");
        assert!((seen.high - 9.264_679).abs() < 1e-6, "{seen:?}");
    }

    #[test]
    fn one_value_has_no_interval() {
        assert_eq!(t_interval(&[3.0], 0.95, Method::TOverRepeats), None);
        assert_eq!(batch_means(&[1.0, 2.0, 3.0, 4.0], 0.95), None);
        let equal = t_interval(&[2.0, 2.0], 0.95, Method::TOverRepeats).unwrap();
        assert_eq!((equal.low, equal.high), (2.0, 2.0));
    }
}
