//! Real time and model time. No other module of the crate reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir_model::Nanos;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TimeMode {
    Real,
    /// Model seconds per second; finite and positive.
    Scaled(f64),
    /// Passes take no time.
    Instant,
}

impl TimeMode {
    pub(crate) const fn scale(self) -> f64 {
        match self {
            Self::Real | Self::Instant => 1.0,
            Self::Scaled(scale) => scale,
        }
    }
}

/// Model time since the start of the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ModelClock {
    start: Instant,
    scale: f64,
}

impl ModelClock {
    pub(crate) fn start(mode: TimeMode) -> Self {
        Self { start: Instant::now(), scale: mode.scale() }
    }

    pub(crate) fn now(&self) -> Nanos {
        let real = self.start.elapsed().as_nanos() as u64;
        // Without scaling, nanoseconds stay whole.
        Nanos(if self.scale == 1.0 { real } else { (real as f64 * self.scale) as u64 })
    }

    pub(crate) fn real_span(&self, span: Nanos) -> Duration {
        if self.scale == 1.0 {
            return Duration::from_nanos(span.0);
        }
        Duration::from_nanos((span.0 as f64 / self.scale).ceil() as u64)
    }
}

/// Seconds since 1970, for the `created` fields.
pub(crate) fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
