//! Supervised processes, each in its own group with a log, ended with all descendants.

mod error;
mod family;
pub(crate) mod memory;
pub(crate) mod owner;
mod spawn;
pub(crate) mod table;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};

pub use error::ProcessError;
pub(crate) use family::{end_all, find, with_known};
pub use owner::Owner;
pub use spawn::Recipe;

use crate::log;
use owner::Marks;
use table::ProcessEntry;

/// For a process that was signalled.
const LOOK: Duration = Duration::from_millis(20);
const DROPPED: Duration = Duration::from_secs(4);
/// Name prefix of vLLM's engines and workers, which it needs. Helpers of Python's multiprocessing
/// come and go.
const VITAL: &str = "VLLM::";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessEnd {
    /// None where it did not exit.
    pub code: Option<i32>,
    pub signal: Option<i32>,
}

impl ProcessEnd {
    const SOMEHOW: Self = Self { code: None, signal: None };
}

impl std::fmt::Display for ProcessEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(9)) => {
                f.write_str("signal 9: killed by somebody, or by the kernel for want of memory")
            }
            (None, Some(signal)) => write!(f, "signal {signal}"),
            (None, None) => f.write_str("unknown"),
        }
    }
}

/// With its descendants. Dropping it ends them at once.
#[derive(Debug)]
pub struct Process {
    child: Mutex<Child>,
    over: bool,
    name: String,
    log: PathBuf,
    /// Offset of its output in the log.
    begin: u64,
    marks: Marks,
    /// Its processes when it was ready: unmarked orphans are known only by this.
    known: Vec<ProcessEntry>,
    /// Processes that it needs, with names: a missing one is a death inside.
    vital: Vec<(ProcessEntry, String)>,
    /// Made for it and mapped when it was ready.
    memory: BTreeSet<PathBuf>,
    pid: u32,
}

impl Process {
    pub fn start(recipe: &Recipe, owner: &Owner) -> Result<Self, ProcessError> {
        let marks = Marks { owner: owner.clone(), part: recipe.name.clone() };
        let (child, begin) = spawn::spawn(recipe, &marks)?;
        Ok(Self {
            pid: child.id(),
            child: Mutex::new(child),
            over: false,
            name: recipe.name.clone(),
            log: recipe.log.clone(),
            begin,
            marks,
            known: Vec::new(),
            vital: Vec::new(),
            memory: BTreeSet::new(),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub const fn pid(&self) -> u32 {
        self.pid
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its own output; the log may begin with that of earlier processes.
    pub fn said(&self) -> String {
        log::since(&self.log, self.begin)
    }

    pub fn family(&self) -> Vec<u32> {
        self.members().iter().map(|seen| seen.pid).collect()
    }

    fn members(&self) -> Vec<ProcessEntry> {
        with_known(family::of_part(&self.marks, self.pid), &mut self.known.clone())
    }

    pub fn ended(&self) -> Option<ProcessEnd> {
        let child = self.child();
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // Not reaped: its id and its group's stay reserved until the end.
        match waitid(WaitId::Pid(Pid::from_child(&child)), options) {
            Ok(None) => None,
            Ok(Some(status)) => {
                Some(ProcessEnd { code: status.exit_status(), signal: status.terminating_signal() })
            }
            // Reaped elsewhere.
            Err(_) => Some(ProcessEnd::SOMEHOW),
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock()
    }

    /// Waits for `ready`. An error where the process ends first (with the cause from its log), at
    /// the deadline, or where `ready` fails.
    pub fn wait_ready<E: From<ProcessError>>(
        &mut self,
        deadline: Instant,
        pause: Duration,
        mut ready: impl FnMut() -> Result<bool, E>,
    ) -> Result<(), E> {
        let begin = Instant::now();
        loop {
            if let Some(ended) = self.ended() {
                return Err(self.death(ended, "before it was ready").into());
            }
            if ready()? {
                self.remember();
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(ProcessError::NotReady {
                    name: self.name.clone(),
                    after: begin.elapsed(),
                    log: self.log.clone(),
                    last: log::last_line(&self.said()),
                }
                .into());
            }
            std::thread::sleep(pause);
        }
    }

    fn remember(&mut self) {
        let members = self.members();
        let named = |seen: ProcessEntry| {
            let line = seen.line();
            line.starts_with(VITAL).then_some((seen, line))
        };
        self.memory = self.shared_memory(&members);
        self.known.clone_from(&members);
        self.vital = members.into_iter().filter_map(named).collect();
    }

    fn shared_memory(&self, members: &[ProcessEntry]) -> BTreeSet<PathBuf> {
        let of = |seen: &ProcessEntry| memory::made_and_mapped(seen, &self.marks.owner);
        members.iter().flat_map(of).collect()
    }

    /// An error where it, or a process it needs, has ended.
    pub fn check(&self) -> Result<(), ProcessError> {
        if let Some(ended) = self.ended() {
            return Err(self.death(ended, "while it was used"));
        }
        let Some((seen, part)) = self.vital.iter().find(|(seen, _)| !seen.is_alive()) else {
            return Ok(());
        };
        let said = self.said();
        Err(ProcessError::Part {
            name: self.name.clone(),
            part: format!("{part} (pid {})", seen.pid),
            cause: log::cause(&said).map_or_else(
                || format!("its log ends: {}", log::last_line(&said)),
                |cause| cause.to_string(),
            ),
            log: self.log.clone(),
        })
    }

    /// Signals the process, kills what is left after `grace`. Returns how the process itself
    /// ended.
    pub fn stop(mut self, grace: Duration) -> Result<ProcessEnd, ProcessError> {
        self.end(grace)
    }

    fn end(&mut self, grace: Duration) -> Result<ProcessEnd, ProcessError> {
        self.over = true;
        let deadline = Instant::now() + grace;
        let mut known = self.members();
        let mut memory = std::mem::take(&mut self.memory);
        memory.extend(self.shared_memory(&known));
        let pid = Pid::from_child(&self.child());
        if self.ended().is_none() {
            // Only the process: vLLM ends its engines itself.
            let _ = kill_process(pid, Signal::TERM);
        }
        if self.await_end(deadline).is_none() {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let killed = Instant::now() + family::AFTER_KILL;
        let ended = self.await_end(killed).ok_or_else(|| self.stays(&[self.pid]))?;
        // Its children may still be ending; those outside of its group carry marks.
        let left = deadline.saturating_duration_since(Instant::now());
        let find = || with_known(self.members(), &mut known);
        end_all(find, (left / 2).max(grace / 4)).map_err(|pids| self.stays(&pids))?;
        let _ = self.child().wait();
        for path in memory::unmapped(memory) {
            let _ = std::fs::remove_file(path);
        }
        Ok(ended)
    }

    fn await_end(&self, deadline: Instant) -> Option<ProcessEnd> {
        loop {
            let ended = self.ended();
            if ended.is_some() || Instant::now() >= deadline {
                return ended;
            }
            std::thread::sleep(LOOK);
        }
    }

    fn stays(&self, pids: &[u32]) -> ProcessError {
        ProcessError::Stays { name: self.name.clone(), pids: pids.to_vec() }
    }

    fn death(&self, ended: ProcessEnd, when: &'static str) -> ProcessError {
        let said = self.said();
        ProcessError::Ended {
            name: self.name.clone(),
            when,
            ended,
            cause: log::cause(&said).map(Box::new),
            last: log::last_line(&said),
            log: self.log.clone(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A failed start or a panic: no time for a clean end.
        if !self.over {
            let _ = self.end(DROPPED);
        }
    }
}
