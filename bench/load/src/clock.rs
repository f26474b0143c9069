//! The two clocks. Everything is measured on the monotonic one, which all processes of a machine
//! share; the kernel stamps arrivals on the other.

use rustix::time::{ClockId, clock_gettime};

/// The monotonic clock, nanoseconds. Comparable between processes of one machine.
pub fn monotonic_ns() -> u64 {
    read(ClockId::Monotonic)
}

/// Nanoseconds since 1970.
pub fn unix_ns() -> u64 {
    read(ClockId::Realtime)
}

/// A stamp of the kernel (nanoseconds since 1970) on the monotonic clock. The offset is read anew
/// each time, so that steps of the other clock do no harm.
pub fn monotonic_of_unix(stamp_ns: u64) -> u64 {
    let offset = i128::from(unix_ns()) - i128::from(monotonic_ns());
    (i128::from(stamp_ns) - offset).max(0) as u64
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
