//! The only place that reads clocks.
//!
//! Times of rows are monotonic, from the start of the cell. Kernel stamps are in time of day, so
//! each turn of a worker's loop samples both clocks. The width of that sample is part of the error
//! bound.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};
use weir_model::Nanos;

fn nanos(time: Timespec) -> u64 {
    // No clock is negative on a supported machine.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A sample this narrow was not interrupted: reading both clocks takes 0.1 us.
const WIDTH_ENOUGH: Nanos = Nanos(500);
/// Limit for clocks that are too slow for a narrow sample.
const SAMPLES_MAX: u32 = 4;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin_ns: u64,
}

/// Of this machine, in nanoseconds since an unnamed moment: what an agreed start is given in.
pub fn monotonic_ns() -> u64 {
    nanos(clock_gettime(ClockId::Monotonic))
}

/// The time of day at a time of [`monotonic_ns`], in nanoseconds since 1970.
pub fn unix_ns_at(at_ns: u64) -> u64 {
    let (day_ns, now_ns) = (nanos(clock_gettime(ClockId::Realtime)), monotonic_ns());
    (day_ns + at_ns).saturating_sub(now_ns)
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self::starting_at(monotonic_ns())
    }

    /// At a time of [`monotonic_ns`], before which it shows zero.
    pub(crate) const fn starting_at(origin_ns: u64) -> Self {
        Self { origin_ns }
    }

    /// The time of day at its start, in nanoseconds since 1970.
    pub(crate) fn started_unix_ns(self) -> u64 {
        unix_ns_at(self.origin_ns)
    }

    /// Until its start; zero from then on.
    pub(crate) fn wait(self) -> Duration {
        Duration::from_nanos(self.origin_ns.saturating_sub(monotonic_ns()))
    }

    pub(crate) fn now(self) -> Nanos {
        Nanos(nanos(clock_gettime(ClockId::Monotonic)).saturating_sub(self.origin_ns))
    }

    /// Absolute monotonic time for timers.
    pub(crate) fn absolute(self, at: Nanos) -> Timespec {
        let ns = self.origin_ns.saturating_add(at.get());
        Timespec {
            tv_sec: (ns / 1_000_000_000).cast_signed(),
            tv_nsec: (ns % 1_000_000_000).cast_signed(),
        }
    }

    /// Now, and the offset of the time of day. An interrupted sample is repeated, because all
    /// stamps of the turn would be off by as much.
    pub(crate) fn sample(self) -> (Nanos, DayOffset) {
        let now = self.now();
        let mut best = self.day_offset(now);
        for _ in 1..SAMPLES_MAX {
            if best.width <= WIDTH_ENOUGH {
                break;
            }
            let again = self.day_offset(self.now());
            if again.width < best.width {
                best = again;
            }
        }
        (now, best)
    }

    fn day_offset(self, before: Nanos) -> DayOffset {
        let day_ns = nanos(clock_gettime(ClockId::Realtime));
        let width = self.now() - before;
        DayOffset { day_ns, at: Nanos(before.get() + width.get() / 2), width }
    }
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DayOffset {
    day_ns: u64,
    at: Nanos,
    /// Error bound of a conversion: the clocks are read one after the other.
    pub(crate) width: Nanos,
}

impl DayOffset {
    /// Time since the start. None before it.
    pub(crate) fn convert(&self, day_ns: u64) -> Option<Nanos> {
        (self.at.get() + day_ns).checked_sub(self.day_ns).map(Nanos)
    }
}

/// In nanoseconds since 1970.
pub(crate) fn day_ns() -> u64 {
    nanos(clock_gettime(ClockId::Realtime))
}

/// Of the calling thread.
pub(crate) fn thread_cpu_time() -> Nanos {
    Nanos(nanos(clock_gettime(ClockId::ThreadCPUTime)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_converted_within_the_width_of_the_sample() {
        let clock = Clock::start();
        let (_, offset) = clock.sample();
        let before = clock.now();
        let day = nanos(clock_gettime(ClockId::Realtime));
        let after = clock.now();
        let converted = offset.convert(day).unwrap();
        // A slewed clock moves by less than 0.1 % of these microseconds.
        assert!(converted + offset.width + Nanos(1000) >= before, "{converted:?} {before:?}");
        assert!(converted <= after + offset.width + Nanos(1000), "{converted:?} {after:?}");
        assert_eq!(offset.convert(0), None);
    }

    #[test]
    fn absolute_times_are_those_of_the_monotonic_clock() {
        let clock = Clock::start();
        let monotonic = nanos(clock_gettime(ClockId::Monotonic));
        let absolute = nanos(clock.absolute(clock.now()));
        assert!(absolute >= monotonic && absolute - monotonic < 1_000_000_000);
    }

    #[test]
    fn a_later_start_is_waited_for_and_known_by_the_time_of_day() {
        let now = Clock::start();
        let later = Clock::starting_at(monotonic_ns() + 1_000_000_000);
        assert_eq!((later.now(), now.wait()), (Nanos::ZERO, Duration::ZERO));
        assert!(later.wait() > Duration::from_millis(500));
        let ahead = later.started_unix_ns() - now.started_unix_ns();
        assert!((900_000_000..1_100_000_000).contains(&ahead), "{ahead}");
    }
}
