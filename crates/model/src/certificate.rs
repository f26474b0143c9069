//! What a load generator reports about itself: how late and how busy it was, and whether it offered
//! the requested load.
//!
//! A client that falls behind reports its own delay as the server's. The certificate bounds that
//! delay by the generator's own clocks. Whether an error matters is judged where the other arms are
//! known; a level that the generator itself limited is refused here.

use serde::{Deserialize, Serialize};

use crate::units::Nanos;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    pub count: u64,
    pub mean: Nanos,
    pub p50: Nanos,
    pub p99: Nanos,
    pub max: Nanos,
}

/// Covers the measured window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Reads that brought output: from the arrival in the kernel to the stamp in the generator.
    /// Where the kernel stamps arrivals, no reported time contains it.
    pub read_lag: Spread,
    /// Requests: from the due time to the first byte handed to the kernel.
    pub send_lag: Spread,
    /// Requests: the most by which the generator can have lengthened the time to first token,
    /// counted from the due time.
    pub first_token_bound: Spread,
    /// Gaps between chunks: the largest error, either way.
    pub gap_bound: Spread,
    /// CPU time / wall time of the busiest worker.
    pub busy_share: f64,
    /// Largest share of the window in which one worker was ready to run and waited for a CPU. None
    /// where the kernel does not count it.
    pub cpu_wait_share: Option<f64>,
    /// The most requests of one worker that were due within a millisecond of each other.
    pub due_at_once: u64,
    pub workers: u32,
    /// True when arrivals were stamped by the kernel; else by the worker after each read.
    pub kernel_stamps: bool,
    /// Requested load: requests in flight (closed loop) or sessions per second (open loop).
    pub offered: f64,
    /// Same unit as `offered`.
    pub delivered: f64,
    /// Time in which a due request waited because its prompt was not prepared yet.
    pub starved: Nanos,
    pub refused: Option<Refusal>,
}

/// What limited a level instead of the server. Its times are then upper bounds, and its throughput
/// a lower one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Refusal {
    /// No request was due inside the measured window.
    NothingSent,
    /// Due requests waited for their prompts.
    Starved {
        /// Within the window.
        waited: Nanos,
        /// The prompts are token ids, the form that takes the least time to prepare.
        token_ids: bool,
    },
    /// A worker had no CPU time in reserve.
    Busy {
        /// CPU time / wall time of the busiest worker.
        share: f64,
        #[serde(default = "Lateness::busy")]
        why: Lateness,
    },
    /// Closed loop.
    TooFewRequests { requests: u64, users: f64 },
    /// Closed loop.
    UsersIdle {
        /// Average.
        busy: f64,
        users: f64,
        why: Lateness,
    },
    /// Open loop.
    ArrivalsMissed { begun: f64, due: f64, why: Lateness },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lateness {
    Busy,
    /// A worker was ready and had no CPU, because others used it.
    NoCpu,
    AtOnce,
    Unknown,
}

/// From this share of computing time on, a worker is late by itself: arrivals wait for it.
const BUSY_SHARE: f64 = 0.5;
/// From this share of time without a CPU on, that is what makes a worker late.
const CPU_WAIT_SHARE: f64 = 0.01;
/// The same for a busy worker: more workers would wait for the same CPUs.
const BUSY_CPU_WAIT_SHARE: f64 = 0.05;
/// From this number of requests due in one millisecond on, the last waits for the others: sending
/// one takes some 20 us.
const AT_ONCE: u64 = 8;

impl Lateness {
    const fn busy() -> Self {
        Self::Busy
    }
}

impl Certificate {
    /// The clearest cause first.
    pub fn lateness(&self) -> Lateness {
        let is_busy = self.busy_share > BUSY_SHARE;
        let most_wait = if is_busy { BUSY_CPU_WAIT_SHARE } else { CPU_WAIT_SHARE };
        if self.cpu_wait_share.is_some_and(|share| share > most_wait) {
            Lateness::NoCpu
        } else if is_busy {
            Lateness::Busy
        } else if self.due_at_once >= AT_ONCE {
            Lateness::AtOnce
        } else {
            Lateness::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_has_the_clearest_cause() {
        let mut seen = Certificate { busy_share: 0.2, due_at_once: 64, ..Certificate::default() };
        assert_eq!(seen.lateness(), Lateness::AtOnce);
        seen.cpu_wait_share = Some(0.3);
        assert_eq!(seen.lateness(), Lateness::NoCpu);
        // A busy worker that also waits lacks a CPU.
        seen.busy_share = 0.8;
        assert_eq!(seen.lateness(), Lateness::NoCpu);
        seen.cpu_wait_share = Some(0.02);
        assert_eq!(seen.lateness(), Lateness::Busy);
        assert_eq!(Certificate::default().lateness(), Lateness::Unknown);
    }
}
