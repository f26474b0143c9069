//! CPU time of the whole machine.

use std::path::Path;

use weir_model::Nanos;

use super::kernel_file::KernelFile;
use super::process::tick;

/// Since boot, over all CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineTimes {
    /// User and kernel mode, with interrupts and guests.
    pub busy: Nanos,
    /// Time that the hypervisor gave to others.
    pub stolen: Nanos,
}

#[derive(Debug)]
pub(super) struct MachineFiles {
    stat: KernelFile,
    tick: Nanos,
}

impl MachineFiles {
    pub(super) fn open(proc: &Path) -> Self {
        Self { stat: KernelFile::open(&proc.join("stat")), tick: tick() }
    }

    pub(super) fn read(&mut self) -> Option<MachineTimes> {
        let (busy, stolen) = parse_stat(self.stat.read()?)?;
        Some(MachineTimes { busy: self.tick * busy, stolen: self.tick * stolen })
    }
}

/// Busy and stolen ticks of `/proc/stat` (proc(5): user, nice, system, idle, iowait, irq, softirq,
/// steal, and guests, which user and nice contain).
fn parse_stat(text: &str) -> Option<(u64, u64)> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Option<Vec<u64>> =
        fields.split_ascii_whitespace().map(|field| field.parse().ok()).collect();
    match ticks?.as_slice() {
        [user, nice, system, _idle, _iowait, irq, softirq, rest @ ..] => {
            let busy = [user, nice, system, irq, softirq]
                .into_iter()
                .try_fold(0_u64, |sum, n| sum.checked_add(*n))?;
            Some((busy, rest.first().copied().unwrap_or(0)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_not_work_and_guests_count_once() {
        let text = "cpu  1 20 300 4000 50000 600000 7000000 80000000 5 6\ncpu0 1 1 1 1 1 1 1\n";
        assert_eq!(parse_stat(text), Some((7_600_321, 80_000_000)));
        assert_eq!(parse_stat("cpu0 1 2 3 4 5 6 7\n"), None);
        assert_eq!(parse_stat("cpu  1 2 x 4 5 6 7\n"), None);
        assert_eq!(parse_stat("cpu  18446744073709551615 1 0 0 0 0 0\n"), None);
    }
}
