//! The measured window, and the rule which requests a figure counts.
//!
//! docs/definitions.md has the rule: the *measured set* is the requests that were due in the
//! window, however and whenever they ended.

use crate::units::Nanos;

/// Half open: includes `start` and excludes `end`. In time of the cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub start: Nanos,
    pub end: Nanos,
}

impl Window {
    /// The rule for figures, certificate, signals and exports.
    pub const fn measures(self, due: Nanos) -> bool {
        self.contains(due)
    }

    /// For what counts by its own time: tokens and ends of requests.
    pub const fn contains(self, at: Nanos) -> bool {
        self.start.0 <= at.0 && at.0 < self.end.0
    }

    /// Zero where the end lies before the start.
    pub const fn length(self) -> Nanos {
        self.end.saturating_sub(self.start)
    }

    pub fn seconds(self) -> f64 {
        self.length().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_due_at_the_end_is_of_the_next_window() {
        let window = Window { start: Nanos(10), end: Nanos(20) };
        let measured: Vec<u64> = (0..30).filter(|&due| window.measures(Nanos(due))).collect();
        assert_eq!(measured, (10..20).collect::<Vec<u64>>());
        assert_eq!(window.length(), Nanos(10));
        let backwards = Window { start: Nanos(20), end: Nanos(10) };
        assert_eq!((backwards.length(), backwards.measures(Nanos(15))), (Nanos::ZERO, false));
    }
}
