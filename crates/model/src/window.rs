//! The measured window, and the one rule that says which requests a figure speaks of.
//!
//! docs/definitions.md is the rule in full: the *measured set* is the requests that were due in the
//! window, whatever came of them and whenever they ended.

use crate::units::Nanos;

/// A half-open span of a cell's time: what happens at `start` is inside, at `end` no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// End of the warm-up.
    pub start: Nanos,
    /// From here on nothing is measured that is due.
    pub end: Nanos,
}

impl Window {
    /// Whether a request that is due at this time belongs to the measured set. Figures,
    /// certificate, signals and exports all ask here.
    pub const fn measures(self, due: Nanos) -> bool {
        self.contains(due)
    }

    /// Whether a moment lies inside, for what counts by its own time: tokens and ends of requests.
    pub const fn contains(self, at: Nanos) -> bool {
        self.start.0 <= at.0 && at.0 < self.end.0
    }

    /// Length; zero where the end lies before the start.
    pub const fn length(self) -> Nanos {
        self.end.saturating_sub(self.start)
    }

    /// Length in seconds.
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
