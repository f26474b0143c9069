//! What the control group (version 2) of an agent did to it during a load.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use weir_model::Nanos;
use weir_observe::host::own_control_group;

/// Over one load. None where the kernel or the container does not show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupUse {
    /// CPUs that it may run on (`cpuset.cpus.effective`).
    pub cpus: Option<String>,
    /// Periods in which a quota stopped it (`nr_throttled`).
    pub throttled_periods: Option<u64>,
    pub oom_kills: Option<u64>,
    /// Time in which a task of the group waited for a CPU.
    pub cpu_waited: Option<Nanos>,
    /// Time in which a task of the group waited for memory.
    pub memory_waited: Option<Nanos>,
}

/// Counts since the group was made.
#[derive(Debug, Clone, Default)]
pub(crate) struct GroupCounts {
    cpus: Option<String>,
    throttled: Option<u64>,
    oom_kills: Option<u64>,
    cpu_waited: Option<u64>,
    memory_waited: Option<u64>,
}

impl GroupCounts {
    pub(crate) fn now() -> Self {
        own_control_group(Path::new("/"), Path::new("/proc"))
            .map(|group| Self::of(&group))
            .unwrap_or_default()
    }

    fn of(group: &Path) -> Self {
        let read = |name: &str| fs::read_to_string(group.join(name)).ok();
        let keyed = |name: &str, key: &str| {
            let text = read(name)?;
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
            line?.trim().parse().ok()
        };
        let waited = |name: &str| {
            let text = read(name)?;
            let some = text.lines().find_map(|line| line.strip_prefix("some "))?.to_owned();
            let total = some.split(' ').find_map(|field| field.strip_prefix("total="))?;
            total.parse::<u64>().ok()?.checked_mul(1000)
        };
        let cpus = read("cpuset.cpus.effective").map(|text| text.trim().to_owned());
        Self {
            cpus: cpus.filter(|text| !text.is_empty()),
            throttled: keyed("cpu.stat", "nr_throttled"),
            oom_kills: keyed("memory.events", "oom_kill"),
            cpu_waited: waited("cpu.pressure"),
            memory_waited: waited("memory.pressure"),
        }
    }

    pub(crate) fn since(self, before: &Self) -> GroupUse {
        let grown = |after: Option<u64>, before: Option<u64>| {
            after.zip(before).map(|(after, before)| after.saturating_sub(before))
        };
        GroupUse {
            cpus: self.cpus,
            throttled_periods: grown(self.throttled, before.throttled),
            oom_kills: grown(self.oom_kills, before.oom_kills),
            cpu_waited: grown(self.cpu_waited, before.cpu_waited).map(Nanos),
            memory_waited: grown(self.memory_waited, before.memory_waited).map(Nanos),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    #[test]
    fn counts_are_those_of_the_load() {
        let folder = tempfile::tempdir().unwrap();
        let group = folder.path();
        let pressure = "some avg10=0.0 avg60=0.0 avg300=0.0 total=700\nfull avg10=0.0 total=1\n";
        write(
            group,
            &[
                ("cpu.stat", "usage_usec 5\nnr_periods 9\nnr_throttled 2\nthrottled_usec 8\n"),
                ("memory.events", "oom 0\noom_kill 1\n"),
                ("cpuset.cpus.effective", "2-5\n"),
                ("cpu.pressure", pressure),
            ],
        );
        let before = GroupCounts::of(group);
        write(group, &[("cpu.stat", "nr_throttled 5\n"), ("memory.events", "oom_kill 1\n")]);
        let used = GroupCounts::of(group).since(&before);
        assert_eq!(used.cpus.as_deref(), Some("2-5"));
        assert_eq!((used.throttled_periods, used.oom_kills), (Some(3), Some(0)));
        assert_eq!((used.cpu_waited, used.memory_waited), (Some(Nanos(0)), None));
    }
}
