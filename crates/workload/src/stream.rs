//! Streams of random numbers, one per entity.
//!
//! Every session, document and schedule has its own stream, keyed by seed, namespace and index. So
//! each can be generated alone, and an added draw in one changes no other. The algorithm is pinned
//! and transcendental functions come from `libm`, so that all machines give the same bits.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use weir_model::ContentId;

#[derive(Debug, Clone)]
pub struct RandomStream(Xoshiro256PlusPlus);

impl RandomStream {
    /// A keyed hash fills the 256-bit state.
    pub fn new(seed: u64, namespace: &str, index: u64) -> Self {
        let key = ContentId::derive(seed, namespace, index).0;
        let mut state = [0u8; 32];
        for (word, bytes) in state.chunks_exact_mut(8).enumerate() {
            let value = ContentId::derive(key, "stream state", word as u64).0;
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        Self(Xoshiro256PlusPlus::from_seed(state))
    }

    /// Uniform in `[0, 1)`, in steps of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `(0, 1]`, so its logarithm is finite.
    pub(crate) fn positive_unit(&mut self) -> f64 {
        1.0 - self.unit()
    }

    /// Uniform in `0..bound` without bias (Lemire, "Fast random integer generation in an
    /// interval", 2019). `bound` must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound > 0, "an empty range has no values");
        let reject_below = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.0.next_u64()) * u128::from(bound);
            if product as u64 >= reject_below {
                return (product >> 64) as u64;
            }
        }
    }

    /// Box and Muller. Always takes two numbers, so that a change of parameters does not shift the
    /// stream.
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(self.positive_unit()));
        radius * libm::cos(std::f64::consts::TAU * self.unit())
    }

    /// Mean 1, by inversion.
    pub(crate) fn exponential(&mut self) -> f64 {
        -libm::log(self.positive_unit())
    }

    /// Gamma with mean `shape` and scale 1 (Marsaglia and Tsang, "A simple method for generating
    /// gamma variables", 2000). Below shape 1, a variable of shape + 1 is scaled by a power.
    pub(crate) fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = libm::pow(self.positive_unit(), 1.0 / shape);
            return self.gamma(shape + 1.0) * boost;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / libm::sqrt(9.0 * d);
        loop {
            let x = self.normal();
            let root = 1.0 + c * x;
            let u = self.positive_unit();
            if root <= 0.0 {
                continue;
            }
            let v = root * root * root;
            if libm::log(u) < 0.5 * x * x + d - d * v + d * libm::log(v) {
                return d * v;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(mut draw: impl FnMut() -> f64) -> (f64, f64) {
        let n = 200_000;
        let values: Vec<f64> = (0..n).map(|_| draw()).collect();
        let mean = values.iter().sum::<f64>() / f64::from(n);
        let squares = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>();
        (mean, squares / f64::from(n))
    }

    fn close(actual: f64, expected: f64, relative: f64) {
        let error = (actual - expected).abs();
        assert!(error <= relative * expected.abs().max(1.0), "{actual} is not {expected}");
    }

    #[test]
    fn streams_of_other_seeds_names_and_entities_differ() {
        let first = |seed, name, index| RandomStream::new(seed, name, index).0.next_u64();
        let base = first(1, "a", 0);
        assert_eq!(base, first(1, "a", 0));
        assert_ne!(base, first(2, "a", 0));
        assert_ne!(base, first(1, "b", 0));
        assert_ne!(base, first(1, "a", 1));
    }

    #[test]
    fn bounded_numbers_are_uniform() {
        let mut stream = RandomStream::new(3, "below", 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[stream.below(7) as usize] += 1;
        }
        // Six degrees of freedom: chi-square stays below 22.5 with probability 0.999.
        let chi: f64 = counts.iter().map(|c| (f64::from(*c) - 1e4).powi(2) / 1e4).sum();
        assert!(chi < 22.5, "{counts:?}");
        assert_eq!(stream.below(1), 0);
    }

    #[test]
    fn normal_exponential_and_gamma_have_their_moments() {
        let mut stream = RandomStream::new(5, "moments", 0);
        let (mean, variance) = moments(|| stream.normal());
        close(mean, 0.0, 0.01);
        close(variance, 1.0, 0.02);
        let (mean, variance) = moments(|| stream.exponential());
        close(mean, 1.0, 0.01);
        close(variance, 1.0, 0.03);
        for shape in [0.25, 0.7, 1.0, 4.0, 30.0] {
            let (mean, variance) = moments(|| stream.gamma(shape));
            close(mean, shape, 0.02);
            close(variance, shape, 0.04);
        }
    }
}
