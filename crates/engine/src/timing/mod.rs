//! How long a pass takes, from its shape.
//!
//! A [`TimingModel`] gives the duration of a [`PassShape`] and depends on nothing else. Only `libm`
//! functions and IEEE operations are used, rounded to whole nanoseconds, so the same shape costs
//! the same on every machine.

mod analytic;
#[cfg(test)]
mod calibration;
mod error;
#[cfg(test)]
mod fixtures;
mod kernels;
#[cfg(test)]
mod properties;
pub mod validation;

use weir_model::Nanos;

use crate::config::TimingConfig;

pub use analytic::{AnalyticTiming, PassParts};
pub use error::TimingError;

/// Computed in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefillChunk {
    pub new_tokens: u32,
    /// Already cached.
    pub context_tokens: u32,
}

/// All inputs of a timing model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PassShape {
    pub prefill: Vec<PrefillChunk>,
    /// They get one token each.
    pub decoding: u32,
    /// Sum over decoding sequences.
    pub context_tokens: u64,
    /// Each shared block counted once.
    pub unique_context_tokens: u64,
    /// Shared by all running sequences; else 0.
    pub shared_prefix_tokens: u32,
}

impl PassShape {
    pub fn tokens(&self) -> u64 {
        let chunks: u64 = self.prefill.iter().map(|chunk| u64::from(chunk.new_tokens)).sum();
        chunks + u64::from(self.decoding)
    }

    /// Each gets a row of logits, even in the middle of its prompt: vLLM computes that row and
    /// drops the token.
    pub fn sequences(&self) -> u64 {
        self.prefill.len() as u64 + u64::from(self.decoding)
    }
}

/// `&mut self` allows memoising; the duration depends on the shape alone.
pub trait TimingModel {
    fn pass(&mut self, shape: &PassShape) -> Nanos;

    /// From arrival to the scheduler; not part of a pass.
    fn front_end(&self) -> Nanos {
        Nanos::ZERO
    }

    /// Of one prompt's `new_tokens` after `context_tokens` in the cache, alone on the engine, in
    /// passes of at most `budget` tokens (0 counts as 1). Without the front end; zero for zero
    /// tokens.
    fn prefill_time(&mut self, new_tokens: u32, context_tokens: u32, budget: u32) -> Nanos {
        let budget = budget.max(1);
        let mut shape = PassShape::default();
        let mut total = Nanos::ZERO;
        let mut computed = 0;
        while computed < new_tokens {
            let chunk = budget.min(new_tokens - computed);
            shape.prefill.clear();
            shape.prefill.push(PrefillChunk {
                new_tokens: chunk,
                context_tokens: context_tokens.saturating_add(computed),
            });
            total += self.pass(&shape);
            computed += chunk;
        }
        total
    }
}

/// `base + per_token * tokens`, for tests and peer benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedTiming {
    pub base: Nanos,
    pub per_token: Nanos,
}

impl TimingModel for FixedTiming {
    fn pass(&mut self, shape: &PassShape) -> Nanos {
        self.base + self.per_token * shape.tokens()
    }
}

/// The model of a [`TimingConfig`]. An enum without a vtable, because it is called millions of
/// times per simulated cell.
#[derive(Debug, Clone)]
pub enum Timing {
    Fixed(FixedTiming),
    Analytic(Box<AnalyticTiming>),
}

impl Timing {
    /// An error names the figure that gives no duration.
    pub fn new(config: &TimingConfig) -> Result<Self, TimingError> {
        Ok(match config {
            TimingConfig::Fixed { base, per_token } => {
                Self::Fixed(FixedTiming { base: *base, per_token: *per_token })
            }
            TimingConfig::Analytic(analytic) => {
                Self::Analytic(Box::new(AnalyticTiming::new(analytic)?))
            }
        })
    }
}

impl TimingModel for Timing {
    fn pass(&mut self, shape: &PassShape) -> Nanos {
        match self {
            Self::Fixed(fixed) => fixed.pass(shape),
            Self::Analytic(analytic) => analytic.pass(shape),
        }
    }

    fn front_end(&self) -> Nanos {
        match self {
            Self::Fixed(fixed) => fixed.front_end(),
            Self::Analytic(analytic) => analytic.front_end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_pass_counts_every_token_once() {
        let mut fixed =
            FixedTiming { base: Nanos::from_millis(2), per_token: Nanos::from_micros(3) };
        let chunk = PrefillChunk { new_tokens: 90, context_tokens: 5_000 };
        let shape = PassShape { prefill: vec![chunk], decoding: 10, ..PassShape::default() };
        assert_eq!(fixed.pass(&shape), Nanos::from_micros(2_300));
    }

    #[test]
    fn a_prompt_is_cut_by_the_budget() {
        let mut fixed =
            FixedTiming { base: Nanos::from_millis(1), per_token: Nanos::from_micros(1) };
        // 2,048 + 2,048 + 904 tokens: three passes.
        assert_eq!(fixed.prefill_time(5_000, 0, 2_048), Nanos::from_micros(8_000));
        assert_eq!(fixed.prefill_time(0, 5_000, 2_048), Nanos::ZERO);
        assert_eq!(fixed.prefill_time(2, 0, 0), Nanos::from_micros(2_002));
    }
}
