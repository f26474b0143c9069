use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use weir_model::{Bytes, Nanos};
use weir_observe::{HostProbe, UnixNanos, UtcClock};

fn work(span: Duration) {
    let begin = Instant::now();
    let mut sum = 0_u64;
    while begin.elapsed() < span {
        sum = black_box(sum.wrapping_mul(31).wrapping_add(7));
    }
}

#[test]
fn this_process_and_this_machine_are_seen() {
    let clock = UtcClock::anchored();
    // One missing process beside this one.
    let mut probe = HostProbe::open(&[u32::MAX]);
    let first = probe.sample(&clock);
    // A loaded machine needs several looks.
    let seen = loop {
        work(Duration::from_millis(50));
        let seen = probe.sample(&clock).since(&first);
        assert!(seen.span < Nanos::from_secs(60), "this process works and is not seen: {seen:?}");
        if seen.processes[0].is_some_and(|own| own.cpu >= Nanos::from_millis(50)) {
            break seen;
        }
    };
    let own = seen.processes[0].unwrap();
    assert_eq!(own.pid, std::process::id());
    assert!(own.cpu.0 as f64 <= 64.0 * seen.span.0 as f64, "{own:?} in {}", seen.span);
    assert!(own.resident.unwrap() > Bytes(1 << 20));
    assert_eq!(seen.processes[1], None);
    assert_eq!(seen.foreign_cpus, None, "unknown while one process is");

    let mut alone = HostProbe::open(&[]);
    let first = alone.sample(&clock);
    work(Duration::from_millis(50));
    let seen = alone.sample(&clock).since(&first);
    assert!(seen.foreign_cpus.unwrap() >= 0.0, "{seen:?}");
}

#[test]
fn a_sample_becomes_rows_in_the_cells_time() {
    let clock = UtcClock::anchored();
    let start = clock.now();
    let sample = HostProbe::open(&[]).sample(&clock);
    let rows = sample.rows(start);
    let busy = rows.iter().find(|row| row.metric == "cpu_busy_seconds_total").unwrap();
    assert_eq!((busy.source.as_str(), busy.labels.as_str()), ("host", ""));
    assert_eq!(busy.time, sample.at.since(start).unwrap());
    let own = rows.iter().find(|row| row.metric == "process_resident_memory_bytes").unwrap();
    assert_eq!(own.labels, format!("pid=\"{}\"", std::process::id()));
    assert_eq!(sample.rows(UnixNanos(u64::MAX)), []);
}

/// Files in place of the kernel's.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    /// In place, as a kernel's file changes under an open descriptor.
    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn process(&self, name: &str, pid: u32, ticks: u64, began: u64) {
        let zeros = "0 ".repeat(10);
        let stat = format!("{pid} (a b) S {zeros}{ticks} 0 0 0 20 0 1 0 {began} 0 0\n");
        self.write(&format!("proc/{name}/stat"), &stat);
        self.write(&format!("proc/{name}/statm"), "10 3 1 0 0 0 0\n");
    }
}

#[test]
fn figures_come_from_the_files_and_absent_ones_give_nothing() {
    let machine = Machine::new();
    machine.process("self", 100, 50, 7);
    machine.process("200", 200, 10, 8);
    machine.write("proc/self/io", "rchar: 9000\nread_bytes: 8192\nwrite_bytes: 0\n");
    machine.write("proc/stat", "cpu  100 0 100 900 0 0 0 40 0 0\n");
    machine.write("proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000\n");
    machine.write("proc/self/cgroup", "5:memory:/old\n0::/a/b\n");
    machine.write(
        "proc/self/mountinfo",
        "30 24 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n",
    );
    let stat = "sys/fs/cgroup/unified/a/b/cpu.stat";
    machine.write(stat, "usage_usec 5\nnr_periods 9\nnr_throttled 1\nthrottled_usec 2000\n");

    let clock = UtcClock::anchored();
    let mut probe = HostProbe::open_at(machine.root(), &[200]);
    let mut first = probe.sample(&clock);
    machine.process("self", 100, 80, 7);
    machine.process("200", 200, 30, 8);
    machine.write("proc/self/io", "rchar: 99000\nread_bytes: 12288\nwrite_bytes: 0\n");
    machine.write("proc/stat", "cpu  180 0 140 990 0 0 0 60 0 0\n");
    machine.write("proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=501000\n");
    machine.write(stat, "usage_usec 5\nnr_periods 9\nnr_throttled 2\nthrottled_usec 6000\n");
    let mut second = probe.sample(&clock);
    // A window of exactly a second.
    first.at = UnixNanos(5_000_000_000);
    second.at = UnixNanos(6_000_000_000);

    let tick = 1e9 / 100.0;
    let seen = second.since(&first);
    let cpu = |at: usize| seen.processes[at].unwrap().cpu.0 as f64;
    assert_eq!((cpu(0), cpu(1)), (30.0 * tick, 20.0 * tick));
    // Page cache reads (`rchar`) are no device reads; the second process hides its own.
    let read = |at: usize| seen.processes[at].unwrap().device_read;
    assert_eq!((read(0), read(1)), (Some(Bytes(4096)), None));
    // 120 ticks busy, 50 of them ours, in 100 ticks.
    assert_eq!(seen.foreign_cpus, Some(0.7));
    assert_eq!(second.machine.unwrap().stolen, Nanos::from_millis(600));
    assert_eq!(second.throttling.unwrap().time, Nanos::from_millis(6));
    assert_eq!(second.cpu_pressure.unwrap().waited, Nanos::from_millis(501));
    assert_eq!((second.memory_pressure, second.io_pressure), (None, None));

    // The id now is another process; the machine's counters ran backwards.
    machine.process("200", 200, 90, 9);
    machine.write("proc/stat", "cpu  1 0 1 1 0 0 0 0 0 0\n");
    let mut third = probe.sample(&clock);
    third.at = UnixNanos(7_000_000_000);
    let seen = third.since(&second);
    assert_eq!(seen.processes[1], None);
    assert_eq!(seen.foreign_cpus, None);
}

#[test]
fn an_empty_machine_is_no_error() {
    let machine = Machine::new();
    let mut probe = HostProbe::open_at(machine.root(), &[1, 2]);
    let sample = probe.sample(&UtcClock::anchored());
    assert_eq!(sample.processes, [None, None, None]);
    assert_eq!((sample.machine, sample.throttling, sample.cpu_pressure), (None, None, None));
    assert_eq!(sample.rows(UnixNanos(0)), []);
    let seen = sample.since(&sample.clone());
    assert_eq!(seen.foreign_cpus, None);
}

#[test]
fn a_group_that_lies_outside_of_the_container_is_not_looked_for() {
    let machine = Machine::new();
    machine.write("proc/self/cgroup", "0::/../outside\n");
    let mount = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    machine.write("proc/self/mountinfo", mount);
    machine.write("sys/fs/outside/cpu.stat", "nr_throttled 1\nthrottled_usec 2000\n");
    let sample = HostProbe::open_at(machine.root(), &[]).sample(&UtcClock::anchored());
    assert_eq!(sample.throttling, None);
}
