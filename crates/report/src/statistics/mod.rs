//! Intervals, paired differences, peaks and tests of counts.
//!
//! Each result names its method. Random choices come from seeded Xoshiro256++, transcendental
//! functions from `libm`: equal inputs give equal bits on every machine.

mod counts;
mod interval;
mod paired;
mod peak;
mod student;

pub use counts::{binomial_at_least, fisher_greater};
pub use interval::{Interval, Method, batch_means, mean, t_interval};
pub use paired::{Difference, change_percent, paired_change};
pub use peak::{Peak, PeakChange, peak, peak_change};
pub use student::{t_cdf, t_quantile};

/// Confidence of every interval in reports.
pub const CONFIDENCE: f64 = 0.95;
