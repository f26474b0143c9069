//! The one wall clock: UTC nanoseconds from one anchor.
//!
//! The system clock is read once; later times add monotonic time. So a step of the clock (NTP, a
//! suspended machine) shifts no sample against another.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir_model::Nanos;

/// Nanoseconds since 1970-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub u64);

impl UnixNanos {
    /// None when this lies before `earlier`.
    pub fn since(self, earlier: Self) -> Option<Nanos> {
        self.0.checked_sub(earlier.0).map(Nanos)
    }

    #[must_use]
    pub const fn after(self, span: Nanos) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

/// Never runs backwards. Copies share the anchor.
#[derive(Debug, Clone, Copy)]
pub struct UtcClock {
    unix: UnixNanos,
    instant: Instant,
}

impl UtcClock {
    pub fn anchored() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { unix: UnixNanos(nanos(unix).0), instant: Instant::now() }
    }

    pub fn now(&self) -> UnixNanos {
        self.unix.after(nanos(self.instant.elapsed()))
    }

    /// Zero when `point` has passed.
    pub fn until(&self, point: UnixNanos) -> Duration {
        Duration::from_nanos(point.0.saturating_sub(self.now().0))
    }
}

fn nanos(span: Duration) -> Nanos {
    Nanos(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_from_the_anchor_and_never_run_back() {
        let clock = UtcClock::anchored();
        let first = clock.now();
        let second = clock.now();
        assert!(second >= first);
        assert!(first.0 > 1_600_000_000_000_000_000, "a UTC time of this century: {first:?}");
        assert_eq!(first.after(Nanos(5)).since(first), Some(Nanos(5)));
        assert_eq!(first.since(first.after(Nanos(1))), None);
        assert_eq!(clock.until(first), Duration::ZERO);
        assert!(clock.until(first.after(Nanos::from_secs(60))) > Duration::from_secs(50));
    }
}
