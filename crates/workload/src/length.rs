//! Draws of token counts and numbers of tool calls.

use crate::config::Length;
use crate::stream::RandomStream;

impl Length {
    pub const fn smallest(&self) -> u32 {
        match *self {
            Self::Fixed(value) => value,
            Self::Uniform { min, .. } | Self::Normal { min, .. } | Self::Lognormal { min, .. } => {
                min
            }
        }
    }

    pub const fn largest(&self) -> u32 {
        match *self {
            Self::Fixed(value) => value,
            Self::Uniform { max, .. } | Self::Normal { max, .. } | Self::Lognormal { max, .. } => {
                max
            }
        }
    }

    /// The mean, or the median.
    pub const fn middle(&self) -> u32 {
        match *self {
            Self::Fixed(value) => value,
            Self::Uniform { min, max } => min.midpoint(max),
            Self::Normal { mean: middle, min, max, .. }
            | Self::Lognormal { median: middle, min, max, .. } => {
                let middle = middle as u32;
                if middle < min {
                    min
                } else if middle > max {
                    max
                } else {
                    middle
                }
            }
        }
    }

    /// A fixed length takes nothing from the stream.
    pub(crate) fn draw(&self, stream: &mut RandomStream) -> u32 {
        match *self {
            Self::Fixed(value) => value,
            Self::Uniform { min, max } => {
                min + stream.below(u64::from(max.saturating_sub(min)) + 1) as u32
            }
            Self::Normal { mean, stddev, min, max } => {
                rounded(mean + stddev * stream.normal(), min, max)
            }
            Self::Lognormal { median, sigma, min, max } => {
                rounded(median * libm::exp(sigma * stream.normal()), min, max)
            }
        }
    }
}

/// `min` must not exceed `max`.
fn rounded(value: f64, min: u32, max: u32) -> u32 {
    // The cast saturates, and infinity from an extreme exponent becomes the largest value.
    (libm::round(value) as u32).clamp(min, max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(length: Length, n: usize) -> Vec<u32> {
        let mut stream = RandomStream::new(11, "length", 0);
        let mut values: Vec<u32> = (0..n).map(|_| length.draw(&mut stream)).collect();
        values.sort_unstable();
        values
    }

    fn mean(values: &[u32]) -> f64 {
        values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64
    }

    #[test]
    fn fixed_is_fixed() {
        assert!(sample(Length::Fixed(7), 10).iter().all(|v| *v == 7));
    }

    #[test]
    fn uniform_reaches_both_ends_and_no_further() {
        let values = sample(Length::Uniform { min: 3, max: 6 }, 4000);
        assert_eq!((values[0], values[3999]), (3, 6));
        assert!((mean(&values) - 4.5).abs() < 0.06, "{}", mean(&values));
    }

    #[test]
    fn normal_has_its_mean_and_is_clamped() {
        let values =
            sample(Length::Normal { mean: 500.0, stddev: 50.0, min: 400, max: 600 }, 20_000);
        assert!((mean(&values) - 500.0).abs() < 2.0, "{}", mean(&values));
        assert_eq!((values[0], values[19_999]), (400, 600));
        let wide = sample(Length::Normal { mean: 10.0, stddev: 1e12, min: 1, max: 20 }, 100);
        assert_eq!((wide[0], wide[99]), (1, 20));
    }

    #[test]
    fn lognormal_has_its_median_and_its_quantiles() {
        let length = Length::Lognormal { median: 1000.0, sigma: 0.8, min: 1, max: 1_000_000 };
        let values = sample(length, 20_001);
        let median = f64::from(values[10_000]);
        assert!((median / 1000.0 - 1.0).abs() < 0.03, "{median}");
        // The 84.13 % quantile of a normal is one standard deviation above its mean.
        let upper = f64::from(values[16_826]);
        assert!((upper / (1000.0 * libm::exp(0.8)) - 1.0).abs() < 0.04, "{upper}");
    }
}
