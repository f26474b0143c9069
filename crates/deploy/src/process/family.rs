//! Descendants of a process: by marks in their environments, and by groups and parents where a
//! program has overwritten its environment.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, getpgrp, kill_process, pidfd_open, pidfd_send_signal,
};

use super::owner::Marks;
use super::table::{self, ProcessEntry};

/// For processes that were signalled.
const LOOK: Duration = Duration::from_millis(20);
/// After a kill: the system frees their memory first.
pub(super) const AFTER_KILL: Duration = Duration::from_secs(10);

/// Processes with wanted marks, and unmarked ones that belong to them. Never this process or its
/// ancestors.
pub(crate) fn find(wanted: impl Fn(&Marks) -> bool) -> Vec<(ProcessEntry, Marks)> {
    let ourselves = table::ourselves();
    // A container's mark means nothing here: its process ids differ.
    let may_be = |seen: &ProcessEntry| !ourselves.contains(&seen.pid) && seen.numbers_as_we_do();
    let (mut found, mut bare) = (Vec::new(), Vec::new());
    for seen in table::of_this_user().into_iter().filter(may_be) {
        match Marks::of(&seen) {
            Some(marks) if wanted(&marks) => found.push((seen, marks)),
            Some(_) => {}
            None => bare.push(seen),
        }
    }
    let own_group = u32::try_from(getpgrp().as_raw_nonzero().get()).unwrap_or_default();
    let mut at = 0;
    // Each one found may lead to more.
    while let Some((of, marks)) = found.get(at).cloned() {
        at += 1;
        let belongs = |seen: &ProcessEntry| {
            seen.parent == of.pid || (seen.group == of.group && of.group != own_group)
        };
        let (more, rest) = bare.into_iter().partition(belongs);
        bare = rest;
        found.extend(Vec::into_iter(more).map(|seen| (seen, marks.clone())));
    }
    found
}

/// By marks, and by the group of the part's first process.
pub(super) fn of_part(marks: &Marks, leader: u32) -> Vec<ProcessEntry> {
    let mut found: Vec<ProcessEntry> =
        find(|of| of == marks).into_iter().map(|(seen, _)| seen).collect();
    let known: BTreeSet<u32> = found.iter().map(|seen| seen.pid).collect();
    let in_group = |seen: &ProcessEntry| seen.group == leader && !known.contains(&seen.pid);
    found.extend(table::of_this_user().into_iter().filter(in_group));
    found
}

/// The found ones and the earlier ones that still live: an orphan may have lost every sign of its
/// owner.
pub(crate) fn with_known(
    found: Vec<ProcessEntry>,
    known: &mut Vec<ProcessEntry>,
) -> Vec<ProcessEntry> {
    for seen in found {
        if !known.contains(&seen) {
            known.push(seen);
        }
    }
    known.retain(ProcessEntry::is_alive);
    known.clone()
}

/// Signals processes, and kills the rest after `grace`. `find` lists the live ones; survivors are
/// returned.
pub(crate) fn end_all(
    mut find: impl FnMut() -> Vec<ProcessEntry>,
    grace: Duration,
) -> Result<(), Vec<u32>> {
    let begin = Instant::now();
    let mut asked: Vec<ProcessEntry> = Vec::new();
    loop {
        let left = find();
        if left.is_empty() {
            return Ok(());
        }
        if begin.elapsed() >= grace + AFTER_KILL {
            return Err(left.iter().map(|seen| seen.pid).collect());
        }
        for seen in left {
            if begin.elapsed() >= grace {
                signal(&seen, Signal::KILL);
            } else if !asked.contains(&seen) {
                signal(&seen, Signal::TERM);
                asked.push(seen);
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// Never to a later process with the same id.
fn signal(to: &ProcessEntry, signal: Signal) {
    let Some(number) = i32::try_from(to.pid).ok().and_then(Pid::from_raw) else { return };
    match pidfd_open(number, PidfdFlags::empty()) {
        // The handle is fixed to one process: check which, then send.
        Ok(handle) if to.is_alive() => {
            let _ = pidfd_send_signal(&handle, signal);
        }
        // Linux before 5.3, and some sandboxes.
        Err(Errno::NOSYS | Errno::PERM) if to.is_alive() => {
            let _ = kill_process(number, signal);
        }
        _ => {}
    }
}
