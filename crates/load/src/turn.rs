//! Bounds of arrival times, from one turn of a worker's loop.
//!
//! The kernel stamps the arrival of a read's last byte. When the first of several events in one
//! read arrived is not stamped, but bounded from below:
//!
//! - A socket that a poll did not report had nothing when the poll looked.
//! - A read that did not fill its buffer left the socket empty.
//! - A poll that slept was woken by the first arrival, so nothing came earlier than its return less
//!   the time that the thread then waited for a CPU, which the kernel counts
//!   (`/proc/thread-self/schedstat`).
//!
//! It does not detect a CPU taken away by a hypervisor, or an interrupt handled late.

use std::fs::File;
use std::os::unix::fs::FileExt;

use weir_model::Nanos;

use crate::clock::DayOffset;

/// From the kernel's check or wake-up to the return of the call: a copy of the events and a switch
/// to user mode. Both take a few microseconds.
const RETURN_SLACK: Nanos = Nanos::from_micros(30);

/// Between two samples of the delay. A sample costs a microsecond.
const SAMPLE_INTERVAL: Nanos = Nanos::from_millis(1);

/// Time in which this thread was runnable without a CPU, as the kernel counts it.
#[derive(Debug)]
pub(crate) struct RunDelay {
    file: Option<File>,
    last_ns: u64,
}

impl RunDelay {
    /// Without the file the bounds are wider.
    pub(crate) fn of_this_thread() -> Self {
        let file = File::open("/proc/thread-self/schedstat").ok();
        let mut delay = Self { file, last_ns: 0 };
        delay.last_ns = delay.read().unwrap_or_default();
        delay
    }

    fn read(&self) -> Option<u64> {
        let mut text = [0u8; 80];
        let length = self.file.as_ref()?.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..length]).ok()?;
        text.split_ascii_whitespace().nth(1)?.parse().ok()
    }

    fn total(&self) -> Option<Nanos> {
        self.read().map(Nanos)
    }

    fn since_last(&mut self) -> Option<Nanos> {
        let now = self.read()?;
        let since = now.saturating_sub(self.last_ns);
        self.last_ns = now;
        Some(Nanos(since))
    }
}

#[derive(Debug, Clone, Copy)]
struct Wait {
    began: Nanos,
    ended: Nanos,
    /// Upper bound of the wait for a CPU within the call, if sampled.
    delay: Option<Nanos>,
}

impl Wait {
    /// The call took no longer than its own work, so it neither slept nor was interrupted.
    fn is_brief(&self) -> bool {
        self.ended.saturating_sub(self.began) <= RETURN_SLACK
    }

    /// Its end, less the most time since a wake-up or check.
    fn end_less(&self, delay: Nanos) -> Nanos {
        self.ended.saturating_sub(delay + RETURN_SLACK)
    }
}

#[derive(Debug)]
pub(crate) struct Turn {
    previous: Wait,
    current: Wait,
    /// As of this turn.
    pub(crate) day: DayOffset,
    run_delay: RunDelay,
    /// Of the delay; regular samples only.
    sampled_at: Nanos,
}

impl Turn {
    pub(crate) fn new(now: Nanos, day: DayOffset, run_delay: RunDelay) -> Self {
        let wait = Wait { began: now, ended: now, delay: None };
        Self { previous: wait, current: wait, day, run_delay, sampled_at: now }
    }

    pub(crate) fn begin_wait(&mut self, now: Nanos) {
        if now.saturating_sub(self.sampled_at) >= SAMPLE_INTERVAL {
            self.current_delay();
            self.sampled_at = now;
        }
        self.previous = self.current;
        self.current = Wait { began: now, ended: now, delay: None };
    }

    pub(crate) fn end_wait(&mut self, now: Nanos, day: DayOffset) {
        self.current.ended = now;
        self.day = day;
    }

    /// Time without a CPU since the thread began.
    pub(crate) fn cpu_wait(&self) -> Option<Nanos> {
        self.run_delay.total()
    }

    /// No byte that the current poll reported arrived before this. `empty_since`: a time at which
    /// the socket was empty. `was_drained`: the last read emptied it, so earlier polls would have
    /// reported later bytes.
    pub(crate) fn earliest(&mut self, empty_since: Nanos, was_drained: bool) -> Nanos {
        if !was_drained {
            return empty_since;
        }
        empty_since.max(self.looked()).max(self.woken())
    }

    /// Since the last sample, which covers the current call.
    fn current_delay(&mut self) -> Option<Nanos> {
        if self.current.delay.is_none() {
            self.current.delay = self.run_delay.since_last();
        }
        self.current.delay
    }

    /// Earliest time at which the previous poll checked.
    fn looked(&mut self) -> Nanos {
        if self.previous.is_brief() {
            return self.previous.began;
        }
        // Without a sample in the previous turn, the next sample contains its delay.
        let delay = self.previous.delay.or_else(|| self.current_delay());
        let looked = delay.map_or(Nanos::ZERO, |delay| self.previous.end_less(delay));
        looked.max(self.previous.began)
    }

    /// Earliest wake-up of the current poll; zero if it may not have slept.
    fn woken(&mut self) -> Nanos {
        if self.current.is_brief() {
            return Nanos::ZERO;
        }
        let delay = self.current_delay();
        let woken = delay.map_or(Nanos::ZERO, |delay| self.current.end_less(delay));
        if woken > self.current.began { woken } else { Nanos::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn turn() -> Turn {
        let clock = Clock::start();
        let no_delay = RunDelay { file: None, last_ns: 0 };
        Turn::new(Nanos::ZERO, clock.sample().1, no_delay)
    }

    fn poll(turn: &mut Turn, began: u64, ended: u64) {
        let day = turn.day;
        turn.begin_wait(Nanos::from_micros(began));
        turn.end_wait(Nanos::from_micros(ended), day);
    }

    #[test]
    fn the_poll_before_bounds_what_the_current_one_reports() {
        let mut turn = turn();
        poll(&mut turn, 1000, 1010);
        poll(&mut turn, 1100, 1105);
        // The poll at 1000 did not sleep: it checked after 1000.
        assert_eq!(turn.earliest(Nanos::ZERO, true), Nanos::from_micros(1000));
        // A socket read at 1050 was empty then.
        assert_eq!(turn.earliest(Nanos::from_micros(1050), true), Nanos::from_micros(1050));
        // An undrained socket tells nothing by not being reported.
        assert_eq!(turn.earliest(Nanos::from_micros(5), false), Nanos::from_micros(5));
    }

    #[test]
    fn a_poll_that_slept_looked_just_before_it_returned() {
        let mut turn = turn();
        poll(&mut turn, 1000, 9000);
        turn.current.delay = Some(Nanos::from_micros(200));
        poll(&mut turn, 9001, 9002);
        let looked = Nanos::from_micros(9000 - 200) - RETURN_SLACK;
        assert_eq!(turn.earliest(Nanos::ZERO, true), looked);
        // Without a known delay, it only checked after its call.
        turn.previous.delay = None;
        assert_eq!(turn.earliest(Nanos::ZERO, true), Nanos::from_micros(1000));
    }

    #[test]
    fn a_sleeper_was_woken_by_the_first_arrival() {
        let mut turn = turn();
        turn.run_delay = RunDelay::of_this_thread();
        if turn.run_delay.file.is_none() {
            println!("SKIPPED a_sleeper_was_woken_by_the_first_arrival: no schedstat");
            assert!(std::env::var_os("CI").is_none());
            return;
        }
        // A poll of 1000 s, with far less delay.
        poll(&mut turn, 0, 1_000_000_000);
        let earliest = turn.earliest(Nanos::ZERO, true);
        assert!(earliest > Nanos::from_secs(900) && earliest < Nanos::from_secs(1000));
    }
}
