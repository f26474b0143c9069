//! Supervised processes: started in a group of their own with a log, watched, and ended with
//! everything that they started.

mod error;
mod family;
pub(crate) mod owner;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};

pub use error::ProcessError;
pub(crate) use family::end_all;
pub use owner::Owner;

use crate::log;

/// How often a process that was asked to end is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// What to call it: `vllm-0`, `lmcache`.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Environment variables beside those of this process.
    pub env: BTreeMap<String, String>,
    /// Words of the command line that must not be recorded.
    pub secrets: Vec<String>,
    /// Working directory.
    pub folder: PathBuf,
    /// Where its output goes; what is there stays.
    pub log: PathBuf,
    /// Processors that it may use; nothing: all.
    pub cores: Option<Vec<usize>>,
}

impl Recipe {
    /// A word of the command line as it may be recorded.
    pub(crate) fn without_secrets(&self, word: &str) -> String {
        let hide = |word: String, secret: &String| word.replace(secret.as_str(), "***");
        self.secrets.iter().filter(|secret| !secret.is_empty()).fold(word.to_owned(), hide)
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code, where it exited.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(9)) => f.write_str("killed (signal 9)"),
            (None, Some(signal)) => write!(f, "signal {signal}"),
            (None, None) => f.write_str("unknown"),
        }
    }
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        Self { code: status.code(), signal: status.signal() }
    }
}

/// A running process with its descendants. Dropping it ends them at once.
#[derive(Debug)]
pub struct Process {
    /// Behind a lock, so that several threads can look whether it lives.
    child: Mutex<Child>,
    name: String,
    log: PathBuf,
    owner: Owner,
    /// Descendants that were there when it was ready: one that is gone is a death inside.
    family: Vec<family::Member>,
    pid: u32,
}

impl Process {
    /// Starts it.
    pub fn start(recipe: &Recipe, owner: &Owner) -> Result<Self, ProcessError> {
        let failed = |error: std::io::Error| ProcessError::Start {
            name: recipe.name.clone(),
            program: recipe.program.clone(),
            error,
        };
        let log = open_log(&recipe.log).map_err(failed)?;
        let mut command = Command::new(&recipe.program);
        command
            .args(&recipe.args)
            .envs(&recipe.env)
            .envs(owner.marks())
            .env(family::PART, &recipe.name)
            .current_dir(&recipe.folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log);
        let child = command.spawn().map_err(failed)?;
        if let Some(cores) = &recipe.cores {
            bind(&child, cores);
        }
        Ok(Self {
            pid: child.id(),
            child: Mutex::new(child),
            name: recipe.name.clone(),
            log: recipe.log.clone(),
            owner: owner.clone(),
            family: Vec::new(),
        })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it did.
    pub fn ended(&self) -> Option<Ended> {
        self.child().try_wait().ok().flatten().map(Ended::from)
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready` says so. Fails where the process ends before, with the cause that its
    /// log gives, at the deadline, and where `ready` itself fails.
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
                self.family = family::of(&self.owner, &self.name, self.pid());
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(ProcessError::NotReady {
                    name: self.name.clone(),
                    after: begin.elapsed(),
                    log: self.log.clone(),
                    last: log::last_line(&self.text()),
                }
                .into());
            }
            std::thread::sleep(pause);
        }
    }

    /// Refuses where it, or one of the processes that it had when it was ready, is gone.
    pub fn check(&self) -> Result<(), ProcessError> {
        if let Some(ended) = self.ended() {
            return Err(self.death(ended, "while it was used"));
        }
        let gone = self.family.iter().find(|member| !member.is_alive());
        match gone {
            None => Ok(()),
            Some(member) => Err(ProcessError::Part {
                name: self.name.clone(),
                part: member.words.clone(),
                cause: log::cause(&self.text()).map_or_else(
                    || format!("its log ends: {}", log::last_line(&self.text())),
                    |cause| cause.to_string(),
                ),
                log: self.log.clone(),
            }),
        }
    }

    /// Ends it and all that it started: asks the process first, kills what is left after `grace`.
    pub fn stop(self, grace: Duration) -> Result<Ended, ProcessError> {
        self.end(grace)
    }

    fn end(&self, grace: Duration) -> Result<Ended, ProcessError> {
        let deadline = Instant::now() + grace;
        let ask = |signal| {
            // It is not reaped yet: the number is its own.
            let child = self.child();
            let _ = kill_process(Pid::from_child(&child), signal);
        };
        if self.ended().is_none() {
            // The process alone: vLLM ends its engines by itself when it is asked.
            ask(Signal::TERM);
        }
        while self.ended().is_none() && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        if self.ended().is_none() {
            ask(Signal::KILL);
        }
        let waited = self.child().wait().ok().map(Ended::from);
        let ended = waited.unwrap_or(Ended { code: None, signal: None });
        // Children that left its group still carry the marks.
        let patience = deadline.saturating_duration_since(Instant::now()).max(grace / 4);
        family::end(&self.owner, &self.name, patience)
            .map_err(|pids| ProcessError::Stays { name: self.name.clone(), pids })?;
        Ok(ended)
    }

    fn death(&self, ended: Ended, when: &'static str) -> ProcessError {
        let text = self.text();
        ProcessError::Ended {
            name: self.name.clone(),
            when,
            ended,
            cause: log::cause(&text),
            last: log::last_line(&text),
            log: self.log.clone(),
        }
    }

    fn text(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An arm that failed on its way up, or a panic: nobody waits for a clean end.
        let _ = self.end(Duration::from_secs(2));
    }
}

fn open_log(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Binds a process, and the threads and children that it starts from now on, to processors. One
/// that is refused (a processor that is not there) leaves it unbound.
fn bind(child: &Child, cores: &[usize]) {
    let mut set = CpuSet::new();
    for core in cores.iter().copied().filter(|core| *core < CpuSet::MAX_CPU) {
        set.set(core);
    }
    let _ = sched_setaffinity(Some(Pid::from_child(child)), &set);
}
