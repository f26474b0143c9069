//! The only place that reads clocks.
//!
//! Times of rows are monotonic and count from the start of the cell. The kernel stamps arrivals
//! with the time of day, so each turn of a worker's loop samples both clocks together; the width of
//! that sample is part of the error bound.

use rustix::time::{ClockId, Timespec, clock_gettime};
use weir_model::Nanos;

fn nanos(time: Timespec) -> u64 {
    // Neither clock is negative on a machine that can run this.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A sample of both clocks this narrow was not interrupted: reading them takes 0.1 us.
const WIDTH_ENOUGH: Nanos = Nanos(500);
/// Times that both clocks are sampled at most; slow clocks never get narrow.
const SAMPLES_MAX: u32 = 4;

/// Monotonic time since the start of the cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin_ns: u64,
}

impl Clock {
    /// Starts the cell: the clock, and the time of day in nanoseconds since 1970.
    pub(crate) fn start() -> (Self, u64) {
        let clock = Self { origin_ns: nanos(clock_gettime(ClockId::Monotonic)) };
        (clock, nanos(clock_gettime(ClockId::Realtime)))
    }

    pub(crate) fn now(self) -> Nanos {
        Nanos(nanos(clock_gettime(ClockId::Monotonic)).saturating_sub(self.origin_ns))
    }

    /// A point of this clock as the absolute monotonic time that timers take.
    pub(crate) fn absolute(self, at: Nanos) -> Timespec {
        let ns = self.origin_ns.saturating_add(at.get());
        Timespec {
            tv_sec: (ns / 1_000_000_000).cast_signed(),
            tv_nsec: (ns % 1_000_000_000).cast_signed(),
        }
    }

    /// Now, and how the time of day relates to this clock. A sample that was interrupted is taken
    /// again: all stamps of the turn would be off by as much.
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
    /// The most by which the conversion can be wrong: the clocks were read one after the other.
    pub(crate) width: Nanos,
}

impl DayOffset {
    /// A time of day as time since the start; nothing before the start.
    pub(crate) fn convert(&self, day_ns: u64) -> Option<Nanos> {
        (self.at.get() + day_ns).checked_sub(self.day_ns).map(Nanos)
    }
}

/// The time of day, in nanoseconds since 1970.
pub(crate) fn day_ns() -> u64 {
    nanos(clock_gettime(ClockId::Realtime))
}

/// Processor time that the calling thread has used.
pub(crate) fn thread_cpu_time() -> Nanos {
    Nanos(nanos(clock_gettime(ClockId::ThreadCPUTime)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_converted_within_the_width_of_the_sample() {
        let (clock, _) = Clock::start();
        let (_, offset) = clock.sample();
        let before = clock.now();
        let day = nanos(clock_gettime(ClockId::Realtime));
        let after = clock.now();
        let converted = offset.convert(day).unwrap();
        // A clock that is being slewed moves by less than 0.1 % of these microseconds.
        assert!(converted + offset.width + Nanos(1000) >= before, "{converted:?} {before:?}");
        assert!(converted <= after + offset.width + Nanos(1000), "{converted:?} {after:?}");
        assert_eq!(offset.convert(0), None);
    }

    #[test]
    fn absolute_times_are_those_of_the_monotonic_clock() {
        let (clock, _) = Clock::start();
        let monotonic = nanos(clock_gettime(ClockId::Monotonic));
        let absolute = nanos(clock.absolute(clock.now()));
        assert!(absolute >= monotonic && absolute - monotonic < 1_000_000_000);
    }
}
