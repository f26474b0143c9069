use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::figures::Sample;

/// Of `/proc/stat`, a constant of Linux's interface.
const TICKS_PER_S: f64 = 100.0;

/// Duration and largest load of a calm machine.
const CALM: Duration = Duration::from_millis(500);
const CALM_CORES: f64 = 0.1;

#[derive(Debug, Clone)]
pub(crate) struct Cores {
    all: CpuSet,
    pub(crate) server: usize,
    pub(crate) client: usize,
}

impl Cores {
    /// The last two cores of this process: the first serves most interrupts.
    pub(crate) fn of_this_process() -> Result<Self> {
        let all = sched_getaffinity(None).context("the allowed cores could not be read")?;
        let mut allowed = (0..CpuSet::MAX_CPU).rev().filter(|core| all.is_set(*core));
        let (client, server) = (allowed.next(), allowed.next());
        let client = client.context("no core is allowed to this process")?;
        let server = server.context("two cores are needed: one for the server, one for clients")?;
        Ok(Self { all, server, client })
    }

    pub(crate) fn pin(core: usize) -> Result<()> {
        let mut one = CpuSet::new();
        one.set(core);
        sched_setaffinity(None, &one)
            .with_context(|| format!("the process could not be pinned to core {core}"))
    }

    pub(crate) fn release(&self) -> Result<()> {
        sched_setaffinity(None, &self.all).context("the process could not be unpinned")
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    at: Instant,
    /// CPU seconds of the client, and of the server.
    client_s: f64,
    server_s: f64,
    /// Busy seconds of all cores.
    machine_s: f64,
}

impl Reading {
    /// The client is this process or another one.
    pub(crate) fn take(client: Option<u32>, server: Option<u32>) -> Self {
        let own = || {
            let time = clock_gettime(ClockId::ProcessCPUTime);
            time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
        };
        Self {
            at: Instant::now(),
            client_s: client.map_or_else(own, processor_s),
            server_s: server.map_or(0.0, processor_s),
            machine_s: machine_busy_s(),
        }
    }

    /// `seconds` where the contestant took the time itself.
    pub(crate) fn sample(self, end: Self, bytes: u64, seconds: Option<f64>) -> Sample {
        let gb = bytes as f64 / 1e9;
        let wall = end.at.duration_since(self.at).as_secs_f64();
        let (client, server) = (end.client_s - self.client_s, end.server_s - self.server_s);
        let foreign = (end.machine_s - self.machine_s - client - server).max(0.0);
        Sample {
            gb_per_s: gb / seconds.unwrap_or(wall),
            client_s_per_gb: Some(client / gb),
            server_s_per_gb: Some(server / gb),
            foreign_cores: Some(foreign / wall),
        }
    }
}

/// False where the machine is not calm in time.
pub(crate) fn wait_for_calm(patience: Duration) -> bool {
    let began = Instant::now();
    loop {
        let (busy, at) = (machine_busy_s(), Instant::now());
        std::thread::sleep(CALM);
        let cores = (machine_busy_s() - busy) / at.elapsed().as_secs_f64();
        if cores < CALM_CORES {
            return true;
        }
        if began.elapsed() > patience {
            return false;
        }
    }
}

/// Of living threads, to the nanosecond.
fn processor_s(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let texts =
        tasks.map(|task| fs::read_to_string(task.path().join("schedstat")).unwrap_or_default());
    let ns: u64 =
        texts.filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok()).sum();
    ns as f64 / 1e9
}

fn machine_busy_s() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let Some(line) = text.lines().next() else { return 0.0 };
    let ticks: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // user nice system (idle iowait) irq softirq; user includes guests.
    let busy: f64 = [0, 1, 2, 5, 6].iter().filter_map(|place| ticks.get(*place)).sum();
    busy / TICKS_PER_S
}

pub(crate) fn describe() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = text.lines().filter(|line| line.starts_with("processor")).count();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line
        .and_then(|line| line.split_once(':'))
        .map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.trim().to_owned());
    format!("{name}, {cores} cores")
}
