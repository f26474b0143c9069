//! A child process that never outlives its parent.
//!
//! The kernel kills it when the *thread* that started it ends, so a dedicated thread starts it,
//! waits for it, and ends with it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
#[cfg(feature = "suite")]
use std::{
    fs,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

#[cfg(feature = "suite")]
/// Longest wait for threads to stop; one in a system call may take as long as a disk does.
const PATIENCE: Duration = Duration::from_secs(2);
#[cfg(feature = "suite")]
const LOOK_AGAIN: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    /// PIDs are reused; a pidfd is not.
    handle: OwnedFd,
    status: Arc<Mutex<Option<ExitStatus>>>,
    keeper: Option<JoinHandle<()>>,
}

impl Process {
    pub(super) fn start(mut command: Command, log: File) -> io::Result<Self> {
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        die_with_parent(&mut command);
        let status = Arc::new(Mutex::new(None));
        let noted = Arc::clone(&status);
        let (sender, receiver) = mpsc::sync_channel(1);
        let keep = move || {
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => {
                    let _ = sender.send(Err(error));
                    return;
                }
            };
            let pid = Pid::from_child(&child);
            // Opened before it is waited for: until then its PID is not reused.
            let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from);
            if handle.is_err() {
                let _ = child.kill();
            }
            let _ = sender.send(handle.map(|handle| (child.id(), handle)));
            let ended = child.wait().ok();
            *noted.lock() = ended;
        };
        let keeper = std::thread::Builder::new().name("weir-keeper".to_owned()).spawn(keep)?;
        let started = receiver.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
        let (pid, handle) = started?;
        Ok(Self { pid, handle, status, keeper: Some(keeper) })
    }

    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn ended(&self) -> Option<ExitStatus> {
        *self.status.lock()
    }

    fn signal(&self, signal: Signal) {
        // It fails only if the child is gone.
        let _ = pidfd_send_signal(&self.handle, signal);
    }

    pub(super) fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }

    #[cfg(feature = "suite")]
    /// Returns when all of its threads are stopped: the signal reaches them one after the other.
    pub(super) fn pause(&self) {
        self.signal(Signal::STOP);
        let began = Instant::now();
        while !stand_still(self.pid) && began.elapsed() < PATIENCE {
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    #[cfg(feature = "suite")]
    pub(super) fn resume(&self) {
        self.signal(Signal::CONT);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(feature = "suite")]
/// Whether every thread of a process is stopped or gone (proc(5): the state follows the bracketed
/// name).
fn stand_still(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let Ok(stat) = fs::read_to_string(thread.path().join("stat")) else { return true };
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        matches!(state, Some('T' | 't' | 'Z' | 'X'))
    })
}

/// The kernel kills the child when the thread that starts it ends.
#[expect(unsafe_code, reason = "there is no other way to run code between fork and exec")]
fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    let parent = rustix::process::getpid();
    let ask = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before this call.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(rustix::io::Errno::SRCH.raw_os_error()))
        }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. The closure makes two
    // system calls and allocates nothing.
    unsafe {
        command.pre_exec(ask);
    }
}
