//! This process's control group (version 2), and its throttling.

use std::fs;
use std::path::{Path, PathBuf};

use weir_model::Nanos;

use super::kernel_file::{KernelFile, keyed};

/// Since the group was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttling {
    /// Summed over CPUs.
    pub time: Nanos,
}

#[derive(Debug)]
pub(super) struct CgroupFiles {
    stat: KernelFile,
}

impl CgroupFiles {
    pub(super) fn open(root: &Path, proc: &Path) -> Self {
        let stat =
            own_control_group(root, proc).map(|folder| KernelFile::open(&folder.join("cpu.stat")));
        Self { stat: stat.unwrap_or_else(KernelFile::absent) }
    }

    /// None without a quota: the kernel then counts no periods.
    pub(super) fn read(&mut self) -> Option<Throttling> {
        let text = self.stat.read()?;
        let microseconds = keyed(text, "throttled_usec")?;
        Some(Throttling { time: Nanos(microseconds.checked_mul(1000)?) })
    }
}

/// The folder of this process's group below the mount of the unified hierarchy. None where its
/// files are not visible here. `proc` is `/proc`, and `root` is `/` outside of tests.
pub fn own_control_group(root: &Path, proc: &Path) -> Option<PathBuf> {
    let groups = fs::read_to_string(proc.join("self/cgroup")).ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mounts = fs::read_to_string(proc.join("self/mountinfo")).ok()?;
    let mount = mounts.lines().find_map(mount_point)?;
    // A group outside of the namespace begins with `/..`: its files are not visible here.
    let inside = !group.split('/').any(|part| part == "..");
    let below = |path: &str| path.trim_start_matches('/').to_owned();
    inside.then(|| root.join(below(mount)).join(below(group)))
}

/// Of a mountinfo line (proc(5)) with type `cgroup2`.
fn mount_point(line: &str) -> Option<&str> {
    let (mount, file_system) = line.split_once(" - ")?;
    file_system.starts_with("cgroup2 ").then(|| mount.split(' ').nth(4))?
}
