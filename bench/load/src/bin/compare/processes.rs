//! CPU time, memory and end of a tool's processes.
//!
//! The driver is their subreaper: an orphan becomes its child, and is still counted and ended.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, waitid, waitpid,
};
use weir_bench_load::{clock, machine};

/// Of `/proc`, a constant of Linux's interface.
const TICKS_PER_S: u64 = 100;
/// For processes to end before they are killed.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    pub(crate) at_ns: u64,
    /// With ended descendants, nanoseconds.
    pub(crate) processor_ns: u64,
    /// Bytes; shared pages count in each process.
    pub(crate) resident: u64,
    /// Busy time of all cores, nanoseconds.
    pub(crate) machine_ns: u64,
    /// CPU time of the driver, nanoseconds.
    pub(crate) driver_ns: u64,
}

pub(crate) struct Tree {
    child: Child,
    others: BTreeSet<u32>,
    page_bytes: u64,
    /// Highest value so far: a process that ended between samples must not lower it.
    processor_ns: u64,
}

impl Tree {
    /// On `core`, in its own process group, with output in `log`.
    pub(crate) fn start(
        mut command: Command,
        core: usize,
        driver_core: usize,
        log: fs::File,
        others: BTreeSet<u32>,
    ) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        // Children inherit the core of the thread that starts them.
        machine::pin(core)?;
        let child = command.spawn().with_context(|| format!("{name} could not be started"));
        machine::pin(driver_core)?;
        let page_bytes = rustix::param::page_size() as u64;
        Ok(Self { child: child?, others, page_bytes, processor_ns: 0 })
    }

    /// Whether the process succeeded; None while it runs. Not reaped, so that its figures can
    /// still be read.
    pub(crate) fn ended(&self) -> Result<Option<bool>> {
        let pid =
            Pid::from_raw(self.child.id().cast_signed()).context("a process has the number 0")?;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(pid), options).context("the tool's process")?;
        Ok(status.map(|status| status.exit_status() == Some(0)))
    }

    pub(crate) fn sample(&mut self) -> Sample {
        let mut ticks = 0;
        let mut scheduled_ns = 0;
        let mut resident = 0;
        let mut peaks = 0;
        for pid in self.members() {
            let Some(stat) = Stat::read(pid) else { continue };
            ticks += stat.ticks;
            resident += stat.pages * self.page_bytes;
            scheduled_ns += scheduled_ns_of(pid);
            peaks += peak_resident(pid).unwrap_or(0);
        }
        // Ticks are coarse but include ended processes; the scheduler's count is fine but only of
        // living ones. Neither is ever too high.
        let seen = (ticks * (1_000_000_000 / TICKS_PER_S)).max(scheduled_ns);
        self.processor_ns = self.processor_ns.max(seen);
        Sample {
            at_ns: clock::monotonic_ns(),
            processor_ns: self.processor_ns,
            resident: resident.max(peaks),
            machine_ns: machine_busy_ns(),
            driver_ns: machine::processor_ns(),
        }
    }

    fn members(&self) -> Vec<u32> {
        let mut roots = vec![self.child.id()];
        // Orphans are children of the driver.
        roots.extend(children(std::process::id()).iter().filter(|pid| !self.others.contains(pid)));
        roots.dedup();
        let mut members = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some(pid) = roots.pop() {
            if seen.insert(pid) {
                members.push(pid);
                roots.extend(children(pid));
            }
        }
        members
    }

    pub(crate) fn end(mut self) {
        let start = Instant::now();
        let mut signal = Signal::TERM;
        loop {
            let _ = self.child.try_wait();
            let members = self.members();
            // The driver reaps its adopted children.
            for pid in &members {
                if *pid != self.child.id()
                    && let Some(pid) = Pid::from_raw(pid.cast_signed())
                {
                    let _ = waitpid(Some(pid), WaitOptions::NOHANG);
                }
            }
            let living: Vec<u32> = members.into_iter().filter(|pid| is_alive(*pid)).collect();
            if living.is_empty() {
                let _ = self.child.wait();
                return;
            }
            if start.elapsed() > PATIENCE {
                signal = Signal::KILL;
            }
            for pid in living.iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
                let _ = kill_process(pid, signal);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

struct Stat {
    state: char,
    ticks: u64,
    pages: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The name in parentheses may hold anything, so fields count from the last one.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
        // User, system, and both of the children that were waited for.
        let ticks = [11, 12, 13, 14].into_iter().map(number).sum::<Option<u64>>()?;
        Some(Self { state: fields.first()?.chars().next()?, ticks, pages: number(21)? })
    }
}

fn is_alive(pid: u32) -> bool {
    Stat::read(pid).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}

fn tasks(pid: u32) -> impl Iterator<Item = std::path::PathBuf> {
    fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|task| task.path())
}

fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for task in tasks(pid) {
        let text = fs::read_to_string(task.join("children")).unwrap_or_default();
        found.extend(text.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    found
}

fn scheduled_ns_of(pid: u32) -> u64 {
    let text =
        tasks(pid).map(|task| fs::read_to_string(task.join("schedstat")).unwrap_or_default());
    text.filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok()).sum()
}

fn peak_resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}

/// Of all cores since boot.
fn machine_busy_ns() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let Some(line) = text.lines().next() else { return 0 };
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // user nice system (idle iowait) irq softirq; user includes guests.
    let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|place| ticks.get(*place)).sum();
    busy * (1_000_000_000 / TICKS_PER_S)
}

#[derive(Debug, Default)]
pub(crate) struct Samples(pub(crate) Vec<Sample>);

impl Samples {
    /// Interpolates a growing quantity linearly.
    pub(crate) fn at(&self, at_ns: u64, quantity: impl Fn(&Sample) -> u64) -> Option<f64> {
        let after = self.0.partition_point(|sample| sample.at_ns < at_ns);
        let right = self.0.get(after).or(self.0.last())?;
        let left = after.checked_sub(1).and_then(|before| self.0.get(before)).unwrap_or(right);
        let span = right.at_ns.saturating_sub(left.at_ns);
        if span == 0 {
            return Some(quantity(right) as f64);
        }
        let share = at_ns.saturating_sub(left.at_ns) as f64 / span as f64;
        let (from, to) = (quantity(left) as f64, quantity(right) as f64);
        Some(from + (to - from) * share.min(1.0))
    }

    pub(crate) fn peak_resident(&self) -> u64 {
        self.0.iter().map(|sample| sample.resident).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Sample, Samples, Stat};

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let mut fields: Vec<String> = (3..=52).map(|place| place.to_string()).collect();
        fields[0] = "S".to_owned();
        let text = format!("77 (odd ) name) {}", fields.join(" "));
        let stat = Stat::parse(&text).expect("a process");
        // utime is field 14 of proc(5), cstime 17, rss 24.
        assert_eq!((stat.state, stat.ticks, stat.pages), ('S', 14 + 15 + 16 + 17, 24));
    }

    #[test]
    fn values_between_samples_lie_on_the_line() {
        let sample = |at_ns, processor_ns| Sample { at_ns, processor_ns, ..Sample::default() };
        let samples = Samples(vec![sample(100, 0), sample(200, 50), sample(300, 50)]);
        let at = |at_ns| samples.at(at_ns, |sample| sample.processor_ns).expect("samples");
        for (at_ns, expected) in [(50, 0.0), (100, 0.0), (150, 25.0), (200, 50.0), (999, 50.0)] {
            assert!((at(at_ns) - expected).abs() < 1e-9, "{at_ns}");
        }
    }
}
