//! What a load generator says of itself: how late it was, how busy, and whether what it offered
//! was what it was asked to offer.
//!
//! A client that falls behind reports its own delay as the server's. The certificate bounds that
//! delay from the generator's own clocks. Whether an error matters depends on what the figures are
//! compared with, so that is judged where the other arms are known; a level that the generator
//! itself limited is refused here.

use serde::{Deserialize, Serialize};

use crate::units::Nanos;

/// A distribution of times, as far as a certificate needs it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    pub count: u64,
    pub mean: Nanos,
    /// 50th percentile.
    pub p50: Nanos,
    /// 99th percentile.
    pub p99: Nanos,
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
    /// Requests: the most by which the time to first token, counted from the due time, can be too
    /// long because of the generator: sent late, noticed late, or read late.
    pub first_token_bound: Spread,
    /// Gaps between chunks: the most by which one can be wrong, either way.
    pub gap_bound: Spread,
    /// CPU time / wall time of the busiest worker.
    pub busy_share: f64,
    /// Share of the window in which a worker was ready to run and waited for a CPU, of the worker
    /// that waited most; absent where the kernel does not count it.
    pub cpu_wait_share: Option<f64>,
    /// The most requests of one worker that were due within a millisecond of each other.
    pub due_at_once: u64,
    pub workers: u32,
    /// True when arrivals were stamped by the kernel; else by the worker after each read.
    pub kernel_stamps: bool,
    /// What was asked: requests in flight (closed loop) or sessions per second (open loop).
    pub offered: f64,
    /// What came of it, in the same unit.
    pub delivered: f64,
    /// Time in which a due request waited because its prompt was not prepared yet.
    pub starved: Nanos,
    /// Why the level says little about the server, where the generator itself was the limit.
    pub refused: Option<Refusal>,
}

/// What limited a level instead of the server. Its times are upper bounds then, and its throughput
/// is a lower one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Refusal {
    /// No request was due inside the measured window.
    NothingSent,
    /// Due requests waited for their prompts.
    Starved {
        /// How long, in the window.
        waited: Nanos,
        /// The prompts are token ids, the form that takes the least time to prepare.
        token_ids: bool,
    },
    /// A worker had no CPU time in reserve.
    Busy {
        /// CPU time / wall time of the busiest worker.
        share: f64,
        /// What made it late.
        #[serde(default = "Lateness::busy")]
        why: Lateness,
    },
    /// Closed loop: too few requests to keep the users busy.
    TooFewRequests {
        /// Requests that were sent in the window.
        requests: u64,
        users: f64,
    },
    /// Closed loop: users waited for the generator.
    UsersIdle {
        /// Users that were kept busy, on average.
        busy: f64,
        users: f64,
        /// Why requests were late.
        why: Lateness,
    },
    /// Open loop: sessions that were due were not begun.
    ArrivalsMissed {
        /// Sessions begun per second.
        begun: f64,
        /// Sessions due per second.
        due: f64,
        /// Why requests were late.
        why: Lateness,
    },
}

/// What made a generator late, as far as it can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lateness {
    /// A worker computed for most of the time.
    Busy,
    /// A worker was ready and had no CPU: others used it.
    NoCpu,
    /// Many requests were due at the same moment.
    AtOnce,
    Unknown,
}

/// Share of the time that a worker computes from which on it is late by itself: what arrives while
/// it is at work waits.
const BUSY_SHARE: f64 = 0.5;
/// Share of the time without a CPU from which on that is what makes a worker late.
const CPU_WAIT_SHARE: f64 = 0.01;
/// The same of a worker that is busy by itself: more workers would wait for the same CPUs.
const BUSY_CPU_WAIT_SHARE: f64 = 0.05;
/// Requests due in one millisecond from which on the last of them waits for the others: sending one
/// takes some 20 us.
const AT_ONCE: u64 = 8;

impl Lateness {
    const fn busy() -> Self {
        Self::Busy
    }
}

impl Certificate {
    /// What made the generator late, the clearest cause first.
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
        // What is busy and waits too has no CPU to be busy on.
        seen.busy_share = 0.8;
        assert_eq!(seen.lateness(), Lateness::NoCpu);
        seen.cpu_wait_share = Some(0.02);
        assert_eq!(seen.lateness(), Lateness::Busy);
        assert_eq!(Certificate::default().lateness(), Lateness::Unknown);
    }
}
