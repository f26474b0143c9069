//! `load`: how requests arrive. Exactly one of `users`, `constant`, `poisson`, `gamma` and `trace`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use super::written::OneOrMany;
use weir_model::quantity::Span;

/// Gamma-distributed gaps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GammaRates {
    /// Sessions per second, one level each.
    pub rates: OneOrMany<f64>,
    /// Coefficient of variation of the gaps (1 is Poisson, above is burstier).
    pub cv: f64,
}

/// A trace's own times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TraceSpeed {
    /// Times are divided by it: 2 is twice as fast. A list is a sweep.
    pub speed: OneOrMany<f64>,
}

impl Default for TraceSpeed {
    fn default() -> Self {
        Self { speed: OneOrMany(vec![1.0]) }
    }
}

/// The load section.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoadSection {
    /// Closed loop: users that each have one session at a time, one level per number.
    pub users: Option<OneOrMany<u32>>,
    /// Open loop with constant gaps: sessions per second, one level each.
    pub constant: Option<OneOrMany<f64>>,
    /// Open loop with exponential gaps: sessions per second, one level each.
    pub poisson: Option<OneOrMany<f64>>,
    /// Open loop with gamma gaps.
    pub gamma: Option<GammaRates>,
    /// The trace's own times.
    pub trace: Option<TraceSpeed>,
    /// Requests that are due until here are measured (120 s; a trace runs to its end). The load
    /// goes on until they have ended.
    pub duration: Option<Span>,
    /// The measured window starts here (a tenth of the duration).
    pub warmup: Option<Span>,
    /// Users start evenly over this time, so that they do not begin in step (half of the warm-up;
    /// `0s` starts all at once).
    pub ramp: Option<Span>,
    /// Most requests to issue.
    pub max_requests: Option<u64>,
}

impl LoadSection {
    /// The forms of arrival that are given, by key.
    pub fn forms(&self) -> Vec<&'static str> {
        [
            ("users", self.users.is_some()),
            ("constant", self.constant.is_some()),
            ("poisson", self.poisson.is_some()),
            ("gamma", self.gamma.is_some()),
            ("trace", self.trace.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }
}
