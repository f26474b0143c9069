//! CPU time of this process and of this thread, nanoseconds.

use rustix::time::{ClockId, clock_gettime};
use weir_model::Nanos;
use weir_service::{allowed_cores, pin_thread};

pub fn of_process() -> Nanos {
    read(ClockId::ProcessCPUTime)
}

pub fn of_thread() -> Nanos {
    read(ClockId::ThreadCPUTime)
}

/// CPUs that the calling thread may use; empty if unknown.
pub(crate) fn cpus() -> Vec<u32> {
    allowed_cores().into_iter().map(|core| core as u32).collect()
}

/// Most CPUs that a client moves between: its server's and others are two cases.
const MOST_PLACES: usize = 4;

pub(crate) fn places() -> u32 {
    cpus().len().clamp(1, MOST_PLACES) as u32
}

/// Keeps the calling thread on one of its CPUs until dropped. A server sleeping on another CPU than
/// its client takes longer to wake. Each of two servers stays on its CPU, so the client has to
/// move.
#[derive(Debug)]
pub(crate) struct PinnedThread(Vec<usize>);

impl PinnedThread {
    /// CPUs are numbered modulo their count; if the machine refuses, the thread stays unpinned.
    pub(crate) fn at(number: u32) -> Self {
        let before = allowed_cores();
        if let Some(at) = (number as usize).checked_rem(before.len()) {
            let _ = pin_thread(&[before[at]]);
        }
        Self(before)
    }
}

impl Drop for PinnedThread {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            let _ = pin_thread(&self.0);
        }
    }
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
    fn places_go_round_the_processors_and_end_where_they_began() {
        let all = cpus();
        for number in 0..5 {
            let place = PinnedThread::at(number);
            assert_eq!(cpus(), [all[number as usize % all.len()]]);
            drop(place);
            assert_eq!(cpus(), all);
        }
    }

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
