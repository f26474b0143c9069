//! Marks that identify Weir's processes, also to a later Weir.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ProcessError;
use super::table::ProcessEntry;

const RUN: &str = "WEIR_RUN";
/// `<pid>:<start time in ticks>` of the owner.
const OWNER: &str = "WEIR_OWNER";
const PART: &str = "WEIR_PART";
/// Keeps Python's `setproctitle`, which vLLM uses, from overwriting the environment in `/proc` and
/// so the marks.
const KEEP: &str = "SPT_NOENV";
const FOLDER_PREFIX: &str = "weir-local-";

/// A run, and the process that runs it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// Letters, digits, `-` and `_`.
    pub run: String,
    pub pid: u32,
    /// In clock ticks since boot, because process ids repeat.
    pub started: u64,
}

impl Owner {
    pub fn this_process(run: &str) -> Result<Self, ProcessError> {
        let seen = ProcessEntry::of(std::process::id()).ok_or(ProcessError::NoProc)?;
        let run = run.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
        Ok(Self { run, pid: seen.pid, started: seen.started })
    }

    /// The rest of a name has no `-`.
    pub fn shared_memory_prefix(&self) -> String {
        format!("weir-{}-{}-", self.run, self.pid)
    }

    /// Salts the keys of the run's requests, so that no other run's blocks match.
    pub(crate) fn cache_salt(&self) -> String {
        format!("weir-{}", self.run)
    }

    pub fn is_alive(&self) -> bool {
        ProcessEntry::of(self.pid).is_some_and(|now| now.started == self.started)
    }

    pub(crate) fn words(&self) -> String {
        format!("{}-{}-{}", self.run, self.pid, self.started)
    }

    pub(crate) fn folder_name(&self) -> String {
        format!("{FOLDER_PREFIX}{}", self.words())
    }

    pub(crate) fn of_folder(name: &str) -> Option<Self> {
        Self::of_words(name.strip_prefix(FOLDER_PREFIX)?)
    }

    pub(crate) fn of_words(words: &str) -> Option<Self> {
        let mut parts = words.rsplitn(3, '-');
        let started = parts.next()?.parse().ok()?;
        let pid = parts.next()?.parse().ok()?;
        Some(Self { run: parts.next()?.to_owned(), pid, started })
    }

    /// Run and process of a shared-memory file. Programs may put a prefix before the given name.
    pub(crate) fn of_shared_memory(name: &str) -> Option<(&str, u32)> {
        let (_, rest) = name.split_once("weir-")?;
        let mut parts = rest.rsplitn(3, '-');
        let _name = parts.next()?;
        let pid = parts.next()?.parse().ok()?;
        Some((parts.next()?, pid))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) owner: Owner,
    pub(crate) part: String,
}

impl Marks {
    /// Inherited by child processes.
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
