use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// With all threads that this process starts, on its last core. Returns the core's number.
pub(crate) fn pin_to_one_core() -> Result<usize> {
    let allowed = sched_getaffinity(None).context("the allowed cores could not be read")?;
    let core = (0..CpuSet::MAX_CPU)
        .rev()
        .find(|core| allowed.is_set(*core))
        .context("no core is allowed to this process")?;
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one)
        .with_context(|| format!("the process could not be pinned to core {core}"))?;
    Ok(core)
}

/// CPU time excludes other processes on the core, and waits for the disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) wall: Duration,
    /// All threads of this process.
    pub(crate) processor: Duration,
}

pub(crate) fn timed<T>(what: impl FnOnce() -> Result<T>) -> Result<(T, Taken)> {
    let wall = Instant::now();
    let processor = processor_time();
    let result = what()?;
    let taken =
        Taken { wall: wall.elapsed(), processor: processor_time().saturating_sub(processor) };
    Ok((result, taken))
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_nanos(time.tv_nsec as u64)
}

/// Bytes, from a kB line of `/proc/self/status` (`VmHWM`: peak resident size, `VmRSS`: resident
/// size now).
pub(crate) fn memory(line: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let value = status
        .lines()
        .find_map(|text| text.strip_prefix(line)?.strip_prefix(':'))
        .with_context(|| format!("/proc/self/status has no {line}"))?;
    let kib: u64 = value
        .trim()
        .trim_end_matches("kB")
        .trim()
        .parse()
        .with_context(|| format!("{line} of /proc/self/status is no number: {value}"))?;
    Ok(kib * 1024)
}

/// The CPU's name and the number of cores that this process may use, before it is pinned.
pub(crate) fn describe() -> String {
    let name = fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{name}, {cores} cores")
}
