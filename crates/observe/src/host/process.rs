use std::path::Path;

use weir_model::{Bytes, Nanos};

use super::kernel_file::{KernelFile, keyed};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessTimes {
    pub pid: u32,
    /// In ticks since boot: process ids repeat.
    pub began_ticks: u64,
    /// All threads, in steps of a tick (10 ms).
    pub cpu: Nanos,
    pub resident: Option<Bytes>,
    /// Bytes fetched from devices (`read_bytes` of `/proc/<pid>/io`), without page cache hits.
    /// None for a process of another user.
    pub device_read: Option<Bytes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessUse {
    pub pid: u32,
    pub cpu: Nanos,
    pub resident: Option<Bytes>,
    pub device_read: Option<Bytes>,
}

impl ProcessTimes {
    /// None when the process is another one.
    pub(super) fn since(&self, earlier: &Self) -> Option<ProcessUse> {
        let same = (self.pid, self.began_ticks) == (earlier.pid, earlier.began_ticks);
        let cpu = self.cpu.0.checked_sub(earlier.cpu.0)?;
        let device_read = self.device_read.zip(earlier.device_read);
        same.then_some(ProcessUse {
            pid: self.pid,
            cpu: Nanos(cpu),
            resident: self.resident,
            device_read: device_read.and_then(|(now, then)| now.0.checked_sub(then.0)).map(Bytes),
        })
    }
}

#[derive(Debug)]
pub(super) struct ProcessFiles {
    stat: KernelFile,
    statm: KernelFile,
    io: KernelFile,
    tick: Nanos,
    page: u64,
}

impl ProcessFiles {
    pub(super) fn open(proc: &Path, pid: &str) -> Self {
        let folder = proc.join(pid);
        Self {
            stat: KernelFile::open(&folder.join("stat")),
            statm: KernelFile::open(&folder.join("statm")),
            io: KernelFile::open(&folder.join("io")),
            tick: tick(),
            page: rustix::param::page_size() as u64,
        }
    }

    pub(super) fn read(&mut self) -> Option<ProcessTimes> {
        let resident = self.statm.read().and_then(resident_pages).map(|n| Bytes(n * self.page));
        let (pid, began_ticks, ticks) = parse_stat(self.stat.read()?)?;
        let device_read = self.io.read().and_then(|text| keyed(text, "read_bytes:")).map(Bytes);
        Some(ProcessTimes { pid, began_ticks, cpu: self.tick * ticks, resident, device_read })
    }
}

pub(super) fn tick() -> Nanos {
    Nanos(1_000_000_000 / rustix::param::clock_ticks_per_second().max(1))
}

/// Id, start and CPU ticks of `/proc/<pid>/stat` (proc(5): fields 1, 22, 14 + 15). The name in
/// field 2 may hold blanks and parentheses: fields count from the last one.
fn parse_stat(text: &str) -> Option<(u32, u64, u64)> {
    let (pid, _) = text.split_once(' ')?;
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    // The first field after the name is the third.
    let user: u64 = fields.nth(14 - 3)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let began = fields.nth(22 - 16)?.parse().ok()?;
    Some((pid.parse().ok()?, began, user.checked_add(system)?))
}

fn resident_pages(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_count_from_behind_the_name() {
        // Fields 3 to 24 have their number as value.
        let fields: Vec<String> = (3..25).map(|field| field.to_string()).collect();
        let text = format!("4711 (a) b) {}", fields.join(" "));
        assert_eq!(parse_stat(&text), Some((4711, 22, 14 + 15)));
        assert_eq!(parse_stat("4711 (cut) S 1 2"), None);
        assert_eq!(parse_stat(""), None);
        assert_eq!(resident_pages("100 42 7"), Some(42));
    }

    #[test]
    fn another_life_of_a_number_is_another_process() {
        let at = |began_ticks, cpu| ProcessTimes {
            pid: 7,
            began_ticks,
            cpu: Nanos(cpu),
            resident: None,
            device_read: Some(Bytes(cpu)),
        };
        let used = at(5, 30).since(&at(5, 10)).unwrap();
        assert_eq!((used.cpu, used.device_read), (Nanos(20), Some(Bytes(20))));
        assert_eq!(at(6, 30).since(&at(5, 10)), None);
    }
}
