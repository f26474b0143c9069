//! The mock's log: one row per request, and figures of the whole run. All times are nanoseconds on
//! the machine's monotonic clock.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Served {
    /// In order of arrival, from 0.
    pub request: u64,
    /// The client's `X-Request-Id`; empty without one.
    pub request_id: String,
    /// In order of acceptance, from 0.
    pub connection: u64,
    /// Arrival of its last byte in the kernel; `read_ns` where unknown.
    pub arrived_ns: u64,
    /// When the server had read it whole.
    pub read_ns: u64,
    /// Before the write of the first token.
    pub first_token_ns: u64,
    /// When the socket had taken the first token.
    pub first_taken_ns: u64,
    /// Before the write of the last token.
    pub last_token_ns: u64,
    pub asked: u32,
    pub tokens: u32,
    pub mean_gap_ns: u64,
    pub max_gap_ns: u64,
    /// False when the client left before the end.
    pub complete: bool,
}

impl Served {
    /// Nanoseconds, from the arrival in the server's kernel.
    pub fn first_token_after_arrival_ns(&self) -> u64 {
        self.first_token_ns.saturating_sub(self.arrived_ns)
    }

    /// Nanoseconds, from the complete read of the request.
    pub fn first_token_after_read_ns(&self) -> u64 {
        self.first_token_ns.saturating_sub(self.read_ns)
    }
}

/// Of [`Run::slices`], nanoseconds.
pub const SLICE_NS: u64 = 100_000_000;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Run {
    pub requests: u64,
    pub complete: u64,
    pub connections: u64,
    pub tokens: u64,
    /// Read of the first request; 0 without any.
    pub first_request_ns: u64,
    pub last_token_ns: u64,
    pub in_flight_max: u64,
    pub gap_mean_ns: f64,
    /// Between tokens of a request, 99th percentile.
    pub gap_p99_ns: u64,
    /// Paced: mean delay of tokens.
    pub late_mean_ns: f64,
    /// Paced: delay of tokens, 99th percentile.
    pub late_p99_ns: u64,
    /// Times a socket took no more, so that a stream waited for its client.
    pub stalls: u64,
    /// CPU time from the first request to the end of the last.
    pub processor_ns: u64,
    /// Consecutive, from the first request on.
    pub slices: Vec<Slice>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    pub tokens: u64,
    pub in_flight: f64,
}

impl Run {
    /// Tokens per second and mean requests in flight under load, without start and drain: the
    /// middle eight tenths between the first and the last slice with half of the usual requests in
    /// flight. Usual is the mean weighted by itself, which idle times do not lower. None below ten
    /// slices.
    pub fn steady(&self) -> Option<Slice> {
        let sum_of = |value: fn(f64) -> f64| -> f64 {
            self.slices.iter().map(|slice| value(slice.in_flight)).sum()
        };
        let usual = sum_of(|in_flight| in_flight * in_flight) / sum_of(|in_flight| in_flight);
        let is_on = |slice: &Slice| slice.in_flight >= usual / 2.0;
        let from = self.slices.iter().position(is_on)?;
        let until = self.slices.iter().rposition(is_on)? + 1;
        let cut = (until - from).div_ceil(10);
        if until - from < 10 {
            return None;
        }
        let slices = self.slices.get(from + cut..until - cut)?;
        let tokens: u64 = slices.iter().map(|slice| slice.tokens).sum();
        let in_flight: f64 = slices.iter().map(|slice| slice.in_flight).sum();
        let seconds = slices.len() as f64 * SLICE_NS as f64 / 1e9;
        Some(Slice {
            tokens: (tokens as f64 / seconds) as u64,
            in_flight: in_flight / slices.len() as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Run, Slice};

    #[test]
    fn start_and_drain_are_no_steady_state() {
        let mut slices = vec![Slice { tokens: 1, in_flight: 1.0 }; 30];
        slices.extend(vec![Slice { tokens: 100, in_flight: 64.0 }; 20]);
        slices.extend(vec![Slice { tokens: 1, in_flight: 2.0 }; 30]);
        let steady = Run { slices, ..Run::default() }.steady().expect("a steady state");
        assert_eq!(steady.tokens, 1_000);
        assert!((steady.in_flight - 64.0).abs() < 1e-9);
        assert!(Run::default().steady().is_none());
    }
}
