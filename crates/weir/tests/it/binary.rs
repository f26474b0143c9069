//! Calls of the binary, and what they answer.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub(crate) const WEIR: &str = env!("CARGO_BIN_EXE_weir");

/// Longer than any call here takes.
const LIMIT: Duration = Duration::from_mins(2);

#[derive(Debug)]
pub(crate) struct Answer {
    /// None when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// The one line of a failed call, without the name of its folder.
    #[track_caller]
    pub(crate) fn refusal(&self, code: i32, folder: &Path) -> String {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        assert_eq!(self.out, "", "a refused call has no result");
        let line = self.err.strip_suffix('\n').expect("the message ends its line");
        assert!(!line.contains('\n'), "more than one line:\n{line}");
        assert!(line.starts_with("weir: "), "{line}");
        line.replace(&*folder.to_string_lossy(), "[folder]")
    }
}

pub(crate) fn weir(folder: &Path, args: &[&str]) -> Answer {
    let output = Command::new(WEIR)
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    Answer {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        err: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
    }
}

/// Killed when dropped, so that a failed test leaves no process.
pub(crate) struct Running {
    child: Child,
    limit: Duration,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// Output goes to files in the folder.
    pub(crate) fn start(folder: &Path, args: &[&str]) -> Self {
        let (out, err) = (folder.join("stdout"), folder.join("stderr"));
        let child = Command::new(WEIR)
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .spawn()
            .expect("the binary starts");
        Self { child, limit: LIMIT, out, err }
    }

    pub(crate) const fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub(crate) fn wait_until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < self.limit, "{what}: not within {:?}", self.limit);
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{what}: the call ended before: {}", self.words());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the process is there, dead or alive");
    }

    /// Repeats a signal until the call has ended.
    pub(crate) fn signal_to_death(&mut self, signal: Signal) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < self.limit, "still alive after {:?}", self.limit);
            self.signal(signal);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < self.limit, "still alive after {:?}", self.limit);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn results(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap()
    }

    pub(crate) fn words(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn no_secret_in(folder: &Path, secret: &str) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            no_secret_in(&path, secret);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!found, "{}", path.display());
    }
}
