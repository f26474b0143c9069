//! The two clocks. Measurements use the monotonic one, which all processes share; the kernel
//! stamps arrivals on the other.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds, comparable between processes of one machine.
pub fn monotonic_ns() -> u64 {
    read(ClockId::Monotonic)
}

pub fn unix_ns() -> u64 {
    read(ClockId::Realtime)
}

/// From a stamp of the kernel (nanoseconds since 1970). The offset is read each time, so that
/// steps of the other clock do no harm.
pub fn monotonic_of_unix(stamp_ns: u64) -> u64 {
    let offset = i128::from(unix_ns()) - i128::from(monotonic_ns());
    (i128::from(stamp_ns) - offset).max(0) as u64
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
