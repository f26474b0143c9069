//! How long requests stay, against the length of their window.

use weir_model::{Nanos, Outcome, RequestRow, Window};
use weir_record::ShortWindow;

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Residence {
    sum: u128,
    count: u64,
}

impl Residence {
    pub(crate) fn add(&mut self, row: &RequestRow, window: Window) {
        if window.measures(row.due) && row.outcome != Outcome::Unfinished {
            self.stayed(row.end - row.start);
        }
    }

    fn stayed(&mut self, time: Nanos) {
        self.sum += u128::from(time.0);
        self.count += 1;
    }

    /// Request-nanoseconds.
    pub(crate) const fn total(&self) -> u128 {
        self.sum
    }

    /// Set where the window is too short for its requests.
    pub(crate) fn short_window(&self, window: Window) -> Option<ShortWindow> {
        let mean = self.sum / u128::from(self.count.max(1));
        ShortWindow::of(window.length(), Nanos(mean as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seconds: &[u64], window: u64) -> Option<ShortWindow> {
        let mut seen = Residence::default();
        for time in seconds {
            seen.stayed(Nanos::from_secs(*time));
        }
        let (start, end) = (Nanos::from_secs(10), Nanos::from_secs(10 + window));
        seen.short_window(Window { start, end })
    }

    #[test]
    fn a_window_holds_five_mean_requests() {
        assert_eq!(of(&[4, 4], 20), None);
        assert_eq!(of(&[4, 5], 20).unwrap().mean_request, Nanos::from_millis(4500));
        assert_eq!(of(&[], 20), None, "nobody says nothing");
    }
}
