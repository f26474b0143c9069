//! The descendants of a process, by the marks in their environments.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::owner::{self, Owner};

/// Environment variable with the name of the part of an arm.
pub(super) const PART: &str = "WEIR_PART";
/// How often those that were asked to end are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// One descendant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) pid: u32,
    started: u64,
    /// Its pid and name, for messages.
    pub(super) words: String,
}

impl Member {
    pub(super) fn is_alive(&self) -> bool {
        owner::started(self.pid) == Some(self.started)
    }
}

/// The descendants of a part that it cannot do without: vLLM's engines and workers, which name
/// themselves. Helpers of Python's multiprocessing come and go.
pub(super) fn of(owner: &Owner, part: &str, without: u32) -> Vec<Member> {
    let named = |pid: u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.starts_with("VLLM::").then(|| format!("{} (pid {pid})", line.trim()))
    };
    let member = |pid| Some(Member { pid, started: owner::started(pid)?, words: named(pid)? });
    marked(owner, part).into_iter().filter(|pid| *pid != without).filter_map(member).collect()
}

/// The processes that carry the marks of a part, except those that have ended.
fn marked(owner: &Owner, part: &str) -> Vec<u32> {
    let wanted = format!("{PART}={part}");
    let carries = |pid: &u32| {
        Owner::of_process(*pid).as_ref() == Some(owner)
            && fs::read(format!("/proc/{pid}/environ")).is_ok_and(|bytes| {
                bytes.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
            })
    };
    owner::all().into_iter().filter(carries).collect()
}

/// Ends what is left of a part; what stays for all that is returned.
pub(super) fn end(owner: &Owner, part: &str, patience: Duration) -> Result<(), Vec<u32>> {
    end_all(|| marked(owner, part), patience)
}

/// Asks processes to end, kills them after half of the patience. `find` says which are there.
pub(crate) fn end_all(find: impl Fn() -> Vec<u32>, patience: Duration) -> Result<(), Vec<u32>> {
    let begin = Instant::now();
    let mut asked = Vec::new();
    loop {
        let left = find();
        if left.is_empty() {
            return Ok(());
        }
        if begin.elapsed() >= patience {
            return Err(left);
        }
        for pid in left {
            if begin.elapsed() >= patience / 2 {
                signal(pid, Signal::KILL);
            } else if !asked.contains(&pid) {
                asked.push(pid);
                signal(pid, Signal::TERM);
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// Sends a signal to the process that has the number now, and to no later one.
fn signal(pid: u32, signal: Signal) {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    if let Ok(handle) = pidfd_open(number, PidfdFlags::empty())
        && Owner::of_process(pid).is_some()
    {
        let _ = pidfd_send_signal(&handle, signal);
    }
}
