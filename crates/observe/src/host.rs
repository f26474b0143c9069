//! CPU time, memory, device reads, throttling and pressure of the machine and its processes.
//!
//! Every file is opened once and read again in place: opening costs more, and an open
//! `/proc/<pid>` file never means another process. Every value is optional, since containers and
//! kernels lack files; a missing value is not zero.
//!
//! *Foreign load* is CPU time of the machine that none of the named processes used.

mod cgroup;
mod kernel_file;
mod machine;
mod pressure;
mod process;

use std::path::Path;

use weir_model::{Bytes, Nanos};

use crate::clock::{UnixNanos, UtcClock};
use crate::series::Row;

pub use cgroup::{Throttling, own_control_group};
pub use machine::MachineTimes;
pub use pressure::Pressure;
pub use process::{ProcessTimes, ProcessUse};

use cgroup::CgroupFiles;
use machine::MachineFiles;
use pressure::PressureFiles;
use process::ProcessFiles;

/// Name in the series.
pub const SOURCE: &str = "host";

#[derive(Debug)]
pub struct HostProbe {
    processes: Vec<ProcessFiles>,
    machine: MachineFiles,
    cgroup: CgroupFiles,
    pressure: PressureFiles,
}

/// Times count since boot or since the process began.
#[derive(Debug, Clone, PartialEq)]
pub struct HostSample {
    pub at: UnixNanos,
    /// The named processes, in order; None for one that has ended.
    pub processes: Vec<Option<ProcessTimes>>,
    pub machine: Option<MachineTimes>,
    pub throttling: Option<Throttling>,
    /// Time with at least one task waiting for a CPU.
    pub cpu_pressure: Option<Pressure>,
    pub memory_pressure: Option<Pressure>,
    pub io_pressure: Option<Pressure>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct HostUse {
    pub span: Nanos,
    /// None for a process that has ended or restarted.
    pub processes: Vec<Option<ProcessUse>>,
    /// Mean CPUs busy with other processes. None unless every named process is known.
    pub foreign_cpus: Option<f64>,
}

impl HostProbe {
    /// This process first, then `pids`.
    pub fn open(pids: &[u32]) -> Self {
        Self::open_at(Path::new("/"), pids)
    }

    /// Below another root, for tests and containers with a mounted `/proc`.
    pub fn open_at(root: &Path, pids: &[u32]) -> Self {
        let proc = root.join("proc");
        let others = pids.iter().map(|pid| ProcessFiles::open(&proc, &pid.to_string()));
        let processes = std::iter::once(ProcessFiles::open(&proc, "self")).chain(others).collect();
        Self {
            processes,
            machine: MachineFiles::open(&proc),
            cgroup: CgroupFiles::open(root, &proc),
            pressure: PressureFiles::open(&proc),
        }
    }

    pub fn sample(&mut self, clock: &UtcClock) -> HostSample {
        let at = clock.now();
        let [cpu, memory, io] = self.pressure.read();
        HostSample {
            at,
            processes: self.processes.iter_mut().map(ProcessFiles::read).collect(),
            machine: self.machine.read(),
            throttling: self.cgroup.read(),
            cpu_pressure: cpu,
            memory_pressure: memory,
            io_pressure: io,
        }
    }
}

impl HostSample {
    pub fn since(&self, earlier: &Self) -> HostUse {
        let span = self.at.since(earlier.at).unwrap_or_default();
        let pairs = earlier.processes.iter().zip(&self.processes);
        let processes: Vec<Option<ProcessUse>> =
            pairs.map(|(before, after)| after.as_ref()?.since(before.as_ref()?)).collect();
        let machine = earlier.machine.zip(self.machine);
        let busy = machine.and_then(|(before, after)| after.busy.0.checked_sub(before.busy.0));
        let own: Option<u64> = processes.iter().map(|one| one.as_ref().map(|own| own.cpu.0)).sum();
        let foreign = busy.zip(own).map(|(busy, own)| busy.saturating_sub(own));
        let foreign = foreign.filter(|_| span.0 > 0);
        let foreign_cpus = foreign.map(|time| time as f64 / span.0 as f64);
        HostUse { span, processes, foreign_cpus }
    }

    /// Rows of a series; times in seconds, counted as the kernel does. Empty for a sample before
    /// the start of the cell.
    pub fn rows(&self, start: UnixNanos) -> Vec<Row> {
        let Some(time) = self.at.since(start) else { return Vec::new() };
        let mut rows = Vec::new();
        let mut push = |metric: &str, labels: String, value: Option<f64>| {
            let (source, metric) = (SOURCE.to_owned(), metric.to_owned());
            rows.extend(value.map(|value| Row { time, source, metric, labels, value }));
        };
        let seconds = |time: Nanos| time.as_secs_f64();
        for process in self.processes.iter().flatten() {
            let labels = format!("pid=\"{}\"", process.pid);
            push("process_cpu_seconds_total", labels.clone(), Some(seconds(process.cpu)));
            let resident = process.resident.map(|Bytes(bytes)| bytes as f64);
            push("process_resident_memory_bytes", labels.clone(), resident);
            let read = process.device_read.map(|Bytes(bytes)| bytes as f64);
            push("process_device_read_bytes_total", labels, read);
        }
        let plain = [
            ("cpu_busy_seconds_total", self.machine.map(|times| seconds(times.busy))),
            ("cpu_stolen_seconds_total", self.machine.map(|times| seconds(times.stolen))),
            ("cgroup_throttled_seconds_total", self.throttling.map(|t| seconds(t.time))),
            ("pressure_cpu_seconds_total", self.cpu_pressure.map(|p| seconds(p.waited))),
            ("pressure_memory_seconds_total", self.memory_pressure.map(|p| seconds(p.waited))),
            ("pressure_io_seconds_total", self.io_pressure.map(|p| seconds(p.waited))),
        ];
        for (metric, value) in plain {
            push(metric, String::new(), value);
        }
        rows
    }
}
