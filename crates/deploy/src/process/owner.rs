//! Marks by which processes are known to be ours, also by a later Weir.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ProcessError;
use super::table::ProcessEntry;

/// Environment variable with the run's id.
const RUN: &str = "WEIR_RUN";
/// Environment variable with the process that started it: `<pid>:<start time in ticks>`.
const OWNER: &str = "WEIR_OWNER";
/// Environment variable with the name of the part of an arm.
const PART: &str = "WEIR_PART";
/// Tells Python's `setproctitle`, by which vLLM names its engines, to leave the environment that
/// `/proc` shows alone: it writes over it otherwise, and over the marks with it.
const KEEP: &str = "SPT_NOENV";
/// How the names of scratch folders begin.
const FOLDER_PREFIX: &str = "weir-local-";

/// Who starts processes: a run, and the process that runs it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// The run's id: letters, digits, `-` and `_`.
    pub run: String,
    pub pid: u32,
    /// When that process started, in clock ticks since the machine did: a process id alone comes
    /// again.
    pub started: u64,
}

impl Owner {
    pub fn this_process(run: &str) -> Result<Self, ProcessError> {
        let seen = ProcessEntry::of(std::process::id()).ok_or(ProcessError::NoProc)?;
        let run = run.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
        Ok(Self { run, pid: seen.pid, started: seen.started })
    }

    /// Prefix of the names of shared memory. What follows it has no `-`.
    pub fn shared_memory_prefix(&self) -> String {
        format!("weir-{}-{}-", self.run, self.pid)
    }

    /// The salt of the run's requests: it stands in the keys of what they store, so that nobody
    /// else's are taken for the run's.
    pub(crate) fn cache_salt(&self) -> String {
        format!("weir-{}", self.run)
    }

    /// Whether the process still runs.
    pub fn is_alive(&self) -> bool {
        ProcessEntry::of(self.pid).is_some_and(|now| now.started == self.started)
    }

    /// The owner as part of a file's name.
    pub(crate) fn words(&self) -> String {
        format!("{}-{}-{}", self.run, self.pid, self.started)
    }

    pub(crate) fn folder_name(&self) -> String {
        format!("{FOLDER_PREFIX}{}", self.words())
    }

    pub(crate) fn of_folder(name: &str) -> Option<Self> {
        Self::of_words(name.strip_prefix(FOLDER_PREFIX)?)
    }

    /// The owner that part of a file's name says.
    pub(crate) fn of_words(words: &str) -> Option<Self> {
        let mut parts = words.rsplitn(3, '-');
        let started = parts.next()?.parse().ok()?;
        let pid = parts.next()?.parse().ok()?;
        Some(Self { run: parts.next()?.to_owned(), pid, started })
    }

    /// Run and process that a file of shared memory names. Programs put words of their own before
    /// the name that they were given.
    pub(crate) fn of_shared_memory(name: &str) -> Option<(&str, u32)> {
        let (_, rest) = name.split_once("weir-")?;
        let mut parts = rest.rsplitn(3, '-');
        let _name = parts.next()?;
        let pid = parts.next()?.parse().ok()?;
        Some((parts.next()?, pid))
    }
}

/// What a process carries: whose it is, and which part of an arm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) owner: Owner,
    pub(crate) part: String,
}

impl Marks {
    /// The variables that carry them; children inherit those.
    pub(crate) fn variables(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (RUN.to_owned(), self.owner.run.clone()),
            (OWNER.to_owned(), format!("{}:{}", self.owner.pid, self.owner.started)),
            (PART.to_owned(), self.part.clone()),
            (KEEP.to_owned(), "1".to_owned()),
        ])
    }

    pub(crate) fn of(seen: &ProcessEntry) -> Option<Self> {
        let mut variables = seen.environment("WEIR_");
        let owner = variables.remove(OWNER)?;
        let (pid, started) = owner.split_once(':')?;
        let (pid, started) = (pid.parse().ok()?, started.parse().ok()?);
        let run = variables.remove(RUN)?;
        let part = variables.remove(PART).unwrap_or_default();
        Some(Self { owner: Owner { run, pid, started }, part })
    }
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
    fn shared_memory_names_run_and_process_whatever_stands_before() {
        let owner = Owner { run: "a1-b2".to_owned(), pid: 17, started: 4711 };
        for before in ["", "lmcache_l1_pool_"] {
            let name = format!("{before}{}lmcache", owner.shared_memory_prefix());
            assert_eq!(Owner::of_shared_memory(&name), Some(("a1-b2", 17)));
        }
        assert_eq!(Owner::of_shared_memory("weir-lmcache"), None);
        assert_eq!(Owner::of_shared_memory("sem.mp-x"), None);
    }

    #[test]
    fn this_process_is_alive_and_one_that_started_at_another_time_is_not() {
        let owner = Owner::this_process("run/with spaces").unwrap();
        assert!(owner.is_alive());
        assert_eq!(owner.run, "runwithspaces");
        assert!(!Owner { started: owner.started + 1, ..owner }.is_alive());
    }
}
