//! What the mock server knows: one row per request, and figures of the whole run. The mock writes
//! them, the comparison reads them.
//!
//! All times are nanoseconds on the machine's monotonic clock.

use serde::{Deserialize, Serialize};

/// One request as the server saw it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Served {
    /// In order of arrival, from 0.
    pub request: u64,
    /// The client's `X-Request-Id`; empty when it sent none.
    pub request_id: String,
    /// The connection it came on, in order of acceptance, from 0.
    pub connection: u64,
    /// When the kernel got its last byte; as `read_ns` where the kernel did not say.
    pub arrived_ns: u64,
    /// When the server had read it whole.
    pub read_ns: u64,
    /// When the first token was about to be handed to the socket.
    pub first_token_ns: u64,
    /// When the socket had taken the first token.
    pub first_taken_ns: u64,
    /// When the last token was about to be handed to the socket.
    pub last_token_ns: u64,
    /// Tokens asked for.
    pub asked: u32,
    /// Tokens handed to the socket.
    pub tokens: u32,
    /// Mean time between tokens.
    pub mean_gap_ns: u64,
    /// Longest time between tokens.
    pub max_gap_ns: u64,
    /// False when the client went away before the end.
    pub complete: bool,
}

impl Served {
    /// Time from the request's arrival in the server's kernel to the first token, nanoseconds.
    pub fn first_token_after_arrival_ns(&self) -> u64 {
        self.first_token_ns.saturating_sub(self.arrived_ns)
    }

    /// Time from the request being read whole to the first token, nanoseconds.
    pub fn first_token_after_read_ns(&self) -> u64 {
        self.first_token_ns.saturating_sub(self.read_ns)
    }
}

/// Length of a slice of [`Run::slices`], nanoseconds.
pub const SLICE_NS: u64 = 100_000_000;

/// The whole run as the server saw it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Run {
    /// Requests that arrived.
    pub requests: u64,
    /// Requests answered to their end.
    pub complete: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Tokens handed to sockets.
    pub tokens: u64,
    /// When the first request was read; 0 when none came.
    pub first_request_ns: u64,
    /// When the last token was written.
    pub last_token_ns: u64,
    /// Most requests in flight at once.
    pub in_flight_max: u64,
    /// Time between tokens of a request, mean.
    pub gap_mean_ns: f64,
    /// Time between tokens of a request, 99th percentile.
    pub gap_p99_ns: u64,
    /// Paced: how late tokens were handed over, mean.
    pub late_mean_ns: f64,
    /// Paced: how late tokens were handed over, 99th percentile.
    pub late_p99_ns: u64,
    /// Times a socket took no more, so that a stream had to wait for its client.
    pub stalls: u64,
    /// Processor time of the server from the first request to the end of the last.
    pub processor_ns: u64,
    /// Consecutive slices of time, from the first request on.
    pub slices: Vec<Slice>,
}

/// One slice of [`SLICE_NS`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// Tokens handed to sockets.
    pub tokens: u64,
    /// Mean requests in flight.
    pub in_flight: f64,
}

impl Run {
    /// Tokens per second and mean requests in flight while the load was on: of the time from the
    /// first to the last slice with half of the usual number of requests in flight, the middle
    /// eight tenths, so that neither the start nor the drain counts. Usual is the mean weighted
    /// by itself, to which idle times add nothing. Nothing when that is shorter than ten slices.
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
