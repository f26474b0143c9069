//! What a load generator says of itself: how late it was, how busy, and whether what it offered
//! was what it was asked to offer.
//!
//! A client that falls behind reports its own delay as the server's. The certificate bounds that
//! delay from the generator's own clocks, and a level that the generator itself limited is refused.

use serde::{Deserialize, Serialize};

use crate::units::Nanos;

/// A distribution of times, as far as a certificate needs it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Values.
    pub count: u64,
    /// Mean.
    pub mean: Nanos,
    /// 50th percentile.
    pub p50: Nanos,
    /// 99th percentile.
    pub p99: Nanos,
    /// Largest.
    pub max: Nanos,
}

/// The generator over the measured window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Reads that brought output: from the arrival in the kernel to the stamp in the generator. Its
    /// own lateness; where the kernel stamps arrivals, no reported time contains it.
    pub read_lag: Spread,
    /// Requests: from the due time to the first byte handed to the kernel.
    pub send_lag: Spread,
    /// Requests: the most by which the generator can have made the time to first token too long.
    pub first_token_bound: Spread,
    /// Gaps between chunks: the most by which one can be wrong, either way.
    pub gap_bound: Spread,
    /// Processor time / wall time of the busiest worker.
    pub busy_share: f64,
    /// True when arrivals were stamped by the kernel; else by the worker after each read.
    pub kernel_stamps: bool,
    /// What was asked: requests in flight (closed loop) or sessions per second (open loop).
    pub offered: f64,
    /// What came of it, in the same unit.
    pub delivered: f64,
    /// Time in which a due request waited because its prompt was not prepared yet.
    pub starved: Nanos,
    /// Why the level says nothing about the server, where the generator itself was the limit.
    pub refused: Option<String>,
}
