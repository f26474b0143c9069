//! Marks by which processes are known to be ours, also by a later Weir.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::ProcessError;

/// Environment variable with the run's id.
pub(crate) const RUN: &str = "WEIR_RUN";
/// Environment variable with the process that started it: `<pid>:<start time in ticks>`.
pub(crate) const OWNER: &str = "WEIR_OWNER";

/// Who starts processes: a run, and the process that runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The run's id: letters, digits, `-` and `_`.
    pub run: String,
    /// Process id.
    pub pid: u32,
    /// When that process started, in clock ticks since the machine did: a process id alone comes
    /// again.
    pub started: u64,
}

impl Owner {
    /// This process, for a run.
    pub fn this_process(run: &str) -> Result<Self, ProcessError> {
        let pid = std::process::id();
        let started = started(pid).ok_or(ProcessError::NoProc)?;
        let run = run.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
        Ok(Self { run, pid, started })
    }

    /// The environment of what it starts; children inherit it.
    pub(crate) fn marks(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (RUN.to_owned(), self.run.clone()),
            (OWNER.to_owned(), format!("{}:{}", self.pid, self.started)),
        ])
    }

    /// Prefix of the names of shared memory.
    pub fn shared_memory_prefix(&self) -> String {
        format!("weir-{}-{}-", self.run, self.pid)
    }

    /// Name of scratch folders.
    pub(crate) fn folder_name(&self) -> String {
        format!("weir-local-{}-{}-{}", self.run, self.pid, self.started)
    }

    /// The owner that a scratch folder names.
    pub(crate) fn of_folder(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("weir-local-")?;
        let mut parts = rest.rsplitn(3, '-');
        let started = parts.next()?.parse().ok()?;
        let pid = parts.next()?.parse().ok()?;
        Some(Self { run: parts.next()?.to_owned(), pid, started })
    }

    /// The owner that a process's environment names.
    pub(crate) fn of_process(pid: u32) -> Option<Self> {
        let bytes = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let mut run = None;
        let mut owner = None;
        for entry in bytes.split(|byte| *byte == 0) {
            let text = String::from_utf8_lossy(entry);
            if let Some(value) = text.strip_prefix("WEIR_RUN=") {
                run = Some(value.to_owned());
            } else if let Some(value) = text.strip_prefix("WEIR_OWNER=") {
                let (pid, started) = value.split_once(':')?;
                owner = Some((pid.parse().ok()?, started.parse().ok()?));
            }
        }
        let (pid, started) = owner?;
        Some(Self { run: run?, pid, started })
    }

    /// Whether the process still runs.
    pub fn is_alive(&self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

/// When a process started, in ticks; nothing where it is gone or only waits to be reaped.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // The name, in parentheses, may hold spaces and parentheses.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// All process ids of this machine.
pub(crate) fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_names_its_owner() {
        let owner = Owner { run: "a1-b2".to_owned(), pid: 17, started: 4711 };
        assert_eq!(Owner::of_folder(&owner.folder_name()), Some(owner));
        assert_eq!(Owner::of_folder("weir-local-x"), None);
        assert_eq!(Owner::of_folder("tmp"), None);
    }

    #[test]
    fn this_process_is_alive_and_one_that_started_at_another_time_is_not() {
        let owner = Owner::this_process("run/with spaces").unwrap();
        assert!(owner.is_alive());
        assert_eq!(owner.run, "runwithspaces");
        assert!(!Owner { started: owner.started + 1, ..owner }.is_alive());
    }
}
