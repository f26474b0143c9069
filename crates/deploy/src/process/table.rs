//! Processes of this machine, as `/proc` shows them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// A process id alone repeats; with the start time it is unique.
#[derive(Debug, Clone)]
pub(crate) struct ProcessEntry {
    pub(crate) pid: u32,
    /// In clock ticks since boot.
    pub(crate) started: u64,
    pub(crate) parent: u32,
    pub(crate) group: u32,
}

impl PartialEq for ProcessEntry {
    /// Its parent may change.
    fn eq(&self, other: &Self) -> bool {
        (self.pid, self.started) == (other.pid, other.started)
    }
}

impl ProcessEntry {
    /// None where it has ended or is a zombie.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold spaces and parentheses.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        if matches!(*fields.first()?, "Z" | "X") {
            return None;
        }
        let field = |at: usize| fields.get(at)?.parse().ok();
        Some(Self {
            pid,
            started: fields.get(19)?.parse().ok()?,
            parent: field(1)?,
            group: field(2)?,
        })
    }

    pub(crate) fn is_alive(&self) -> bool {
        Self::of(self.pid).is_some_and(|now| now == *self)
    }

    pub(crate) fn line(&self) -> String {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").trim().to_owned()
    }

    /// Variables at its start, with this prefix.
    pub(crate) fn environment(&self, prefix: &str) -> BTreeMap<String, String> {
        let bytes = fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        let entries = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        entries
            .filter(|text| text.starts_with(prefix))
            .filter_map(|text| {
                text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
            })
            .collect()
    }

    pub(crate) fn folder(&self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/cwd", self.pid)).ok()
    }

    /// Whether it has this process's id namespace; a container has another.
    pub(crate) fn numbers_as_we_do(&self) -> bool {
        let space = |of: &str| fs::read_link(Path::new("/proc").join(of).join("ns/pid")).ok();
        space(&self.pid.to_string()) == space("self")
    }
}

pub(crate) fn of_this_user() -> Vec<ProcessEntry> {
    let user = geteuid().as_raw();
    let mine = |pid: &u32| fs::metadata(format!("/proc/{pid}")).is_ok_and(|of| of.uid() == user);
    numbers().into_iter().filter(mine).filter_map(ProcessEntry::of).collect()
}

pub(crate) fn numbers() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// This process and its ancestors, which must not be ended.
pub(crate) fn ourselves() -> Vec<u32> {
    let mut line = vec![std::process::id()];
    while let Some(parent) =
        line.last().and_then(|pid| ProcessEntry::of(*pid)).map(|seen| seen.parent)
        && parent != 0
        && !line.contains(&parent)
    {
        line.push(parent);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen_with_its_parent_and_its_group() {
        let seen = ProcessEntry::of(std::process::id()).unwrap();
        assert!(seen.is_alive());
        assert_eq!(seen.parent, std::os::unix::process::parent_id());
        let group = rustix::process::getpgrp().as_raw_nonzero().get();
        assert_eq!(i64::from(seen.group), i64::from(group));
        assert!(seen.numbers_as_we_do());
        assert!(!ProcessEntry { started: seen.started + 1, ..seen }.is_alive());
    }

    #[test]
    fn we_and_those_above_us_are_ourselves() {
        let line = ourselves();
        assert!(line.contains(&std::process::id()));
        assert!(line.contains(&std::os::unix::process::parent_id()));
    }
}
