//! What a process started: its descendants, by the marks in their environments, and by groups and
//! parents where a program has written over its environment.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, getpgrp, kill_process, pidfd_open, pidfd_send_signal,
};

use super::owner::Marks;
use super::table::{self, ProcessEntry};

/// How often those that were asked to end are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Time that those have that are killed: the system frees their memory first.
pub(super) const AFTER_KILL: Duration = Duration::from_secs(10);

/// The processes whose marks are wanted, with the marks, and those that belong to them though
/// they have none. Never this process, nor one above it.
pub(crate) fn find(wanted: impl Fn(&Marks) -> bool) -> Vec<(ProcessEntry, Marks)> {
    let ourselves = table::ourselves();
    // What a mark from a container says of its owner means nothing here.
    let may_be = |seen: &ProcessEntry| !ourselves.contains(&seen.pid) && seen.numbers_as_we_do();
    let (mut found, mut bare) = (Vec::new(), Vec::new());
    for seen in table::of_this_user().into_iter().filter(may_be) {
        match Marks::of(&seen) {
            Some(marks) if wanted(&marks) => found.push((seen, marks)),
            // It is somebody else's.
            Some(_) => {}
            None => bare.push(seen),
        }
    }
    let own_group = u32::try_from(getpgrp().as_raw_nonzero().get()).unwrap_or_default();
    let mut at = 0;
    // Each that is found may bring more.
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

/// The processes of one part of an arm: those that are marked so, and those in the group that its
/// first process leads.
pub(super) fn of_part(marks: &Marks, leader: u32) -> Vec<ProcessEntry> {
    let mut found: Vec<ProcessEntry> =
        find(|of| of == marks).into_iter().map(|(seen, _)| seen).collect();
    let known: BTreeSet<u32> = found.iter().map(|seen| seen.pid).collect();
    let in_group = |seen: &ProcessEntry| seen.group == leader && !known.contains(&seen.pid);
    found.extend(table::of_this_user().into_iter().filter(in_group));
    found
}

/// Those that are found now, and those that were found before and are still there: who loses its
/// parent may have nothing left that says where it belongs.
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

/// Asks processes to end, and kills those that are there after `grace`. `find` says which are
/// there; those that stay for all that are returned.
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

/// Sends a signal to a process, and to no later one of its number.
fn signal(to: &ProcessEntry, signal: Signal) {
    let Some(number) = i32::try_from(to.pid).ok().and_then(Pid::from_raw) else { return };
    match pidfd_open(number, PidfdFlags::empty()) {
        // What the handle means now it means for good: look at who that is, then send.
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
