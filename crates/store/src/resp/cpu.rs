//! CPU time of a server: its own figure with a fraction, else that of its local process.

use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

/// Allowed difference between the server's clock and the kernel's: both truncate seconds, and one
/// is read after the other.
const SLACK: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said<'a> {
    /// `used_cpu_user` and `used_cpu_sys`, seconds.
    pub(super) used: [Option<&'a str>; 2],
    pub(super) pid: Option<u32>,
    /// `uptime_in_seconds`.
    pub(super) uptime: Option<u64>,
}

/// User and system time of all threads, nanoseconds. None if the server counts whole seconds
/// (Kvrocks before its pull request 3379) and its process is unknown.
pub(super) fn of(said: &Said<'_>, is_local: bool) -> Option<u64> {
    let [user, system] = said.used;
    let (user, system) = (user?, system?);
    let seconds = user.parse::<f64>().ok()? + system.parse::<f64>().ok()?;
    if has_fraction(user) || has_fraction(system) {
        return Some((seconds * 1e9) as u64);
    }
    let (pid, uptime) = (said.pid.filter(|_| is_local)?, said.uptime?);
    let seen = Seen::of(pid)?;
    // The number may come from another PID namespace.
    let is_it = close(seen.age, Duration::from_secs(uptime))
        && close(seen.used, Duration::try_from_secs_f64(seconds).ok()?);
    is_it.then_some(seen.used.as_nanos() as u64)
}

/// The server's process on this machine, if PID and age match. A server in a container or behind a
/// forwarded port reports a PID of its own namespace.
pub(super) fn process(said: &Said<'_>, is_local: bool) -> Option<u32> {
    let (pid, uptime) = (said.pid.filter(|_| is_local)?, said.uptime?);
    close(Seen::of(pid)?.age, Duration::from_secs(uptime)).then_some(pid)
}

/// Large whole seconds are written as `1.23457e+06`.
fn has_fraction(text: &str) -> bool {
    text.split_once('.').is_some_and(|(_, rest)| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

fn close(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) <= SLACK
}

struct Seen {
    used: Duration,
    age: Duration,
}

impl Seen {
    /// Fields 14, 15 and 22 of `/proc/PID/stat` (proc(5)), counted from behind the bracketed name.
    fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = text.rsplit_once(')')?;
        let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3)?.parse().ok();
        let ticks = clock_ticks_per_second().max(1);
        let time = |count: u64| Duration::from_secs_f64(count as f64 / ticks as f64);
        let (user, system, began): (u64, u64, u64) = (field(14)?, field(15)?, field(22)?);
        let now = clock_gettime(ClockId::Boottime);
        let now = Duration::new(now.tv_sec.try_into().ok()?, now.tv_nsec.try_into().ok()?);
        Some(Self { used: time(user + system), age: now.saturating_sub(time(began)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<'a>(user: &'a str, system: &'a str, pid: u32, uptime: u64) -> Said<'a> {
        Said { used: [Some(user), Some(system)], pid: Some(pid), uptime: Some(uptime) }
    }

    #[test]
    fn a_fraction_is_taken_as_it_is_wherever_the_server_is() {
        for is_local in [false, true] {
            assert_eq!(of(&said("1.500000", "0.25", 1, 0), is_local), Some(1_750_000_000));
        }
        // One of the two is a whole number.
        assert_eq!(of(&said("2", "0.5", 1, 0), false), Some(2_500_000_000));
    }

    #[test]
    fn whole_seconds_are_unknown_unless_the_process_is_here() {
        let pid = std::process::id();
        let own = Seen::of(pid).unwrap();
        let (age, used) = (own.age.as_secs(), own.used.as_secs().to_string());
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        let found = of(&said(&used, "0", pid, age), true).unwrap();
        assert!(found > 0 && found >= own.used.as_nanos() as u64, "{found}");
        assert_eq!(process(&said(&used, "0", pid, age), true), Some(pid));
        for (other, is_local) in
            [(said(&used, "0", pid, age), false), (said("0", "0", pid, age + 1000), true)]
        {
            assert_eq!(process(&other, is_local), None);
        }
        // Remote; another age; another CPU time; an unused PID.
        assert_eq!(of(&said(&used, "0", pid, age), false), None);
        assert_eq!(of(&said(&used, "0", pid, age + 1000), true), None);
        assert_eq!(of(&said("1.23457e+06", "0", pid, age), true), None);
        assert_eq!(of(&said(&used, "0", u32::MAX, age), true), None);
        assert_eq!(of(&Said { used: [None, Some("1.5")], pid: None, uptime: None }, true), None);
    }
}
