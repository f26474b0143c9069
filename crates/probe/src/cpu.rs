//! Processor time of this process and of this thread, to the nanosecond.

use rustix::thread::{CpuSet, sched_getaffinity};
use rustix::time::{ClockId, clock_gettime};
use weir_model::Nanos;

/// Processor time of all threads of this process so far.
pub fn of_process() -> Nanos {
    read(ClockId::ProcessCPUTime)
}

/// Processor time of the calling thread so far.
pub fn of_thread() -> Nanos {
    read(ClockId::ThreadCPUTime)
}

/// Processors that the calling thread may use; none where the system does not say.
pub(crate) fn processors() -> Vec<u32> {
    let Ok(set) = sched_getaffinity(None) else { return Vec::new() };
    (0..CpuSet::MAX_CPU).filter(|place| set.is_set(*place)).map(|place| place as u32).collect()
}

fn read(clock: ClockId) -> Nanos {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Nanos(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_processor_time_and_a_process_has_all_its_threads() {
        let (thread, process) = (of_thread(), of_process());
        let mut sum = 0u64;
        while of_thread().0 - thread.0 < 5_000_000 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        assert!(of_process().0 - process.0 >= 4_900_000);
    }
}
