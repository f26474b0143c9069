//! Runs the stages of an installation, one process at a time, and remembers which are done.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, statvfs};
use rustix::io::Errno;

use super::child::{self, Failed};
use super::error::{SetupError, remedy};
use super::stage::{Stage, StageCommand, WHEEL_PLACE};

const LOG: &str = "setup.log";

#[derive(Debug, Clone, Copy)]
pub enum InstallEvent<'a> {
    Begin(&'a Stage),
    /// A line of output, and the stage's approximate progress, 0 to 1.
    Line(&'a str, f64),
    End(&'a Stage),
}

#[derive(Debug, Clone)]
pub struct Installation {
    pub(super) folder: PathBuf,
    pub(super) stages: Vec<Stage>,
    /// Without this path in the folder no stage is done.
    pub(super) basis: Option<&'static str>,
    /// A folder with one of these was made by Weir.
    pub(super) ours: &'static [&'static str],
    /// Removed at the end.
    pub(super) scratch: Option<&'static str>,
    /// What grows outside of the folder.
    pub(super) beside: Option<&'static str>,
}

impl Installation {
    pub(super) fn new(
        folder: &Path,
        stages: impl FnOnce(&Path) -> Vec<Stage>,
    ) -> Result<Self, SetupError> {
        // Its commands run in any folder, and a virtual environment has absolute paths.
        let folder = std::path::absolute(folder).map_err(file("find", folder))?;
        let stages = stages(&folder);
        Ok(Self { folder, stages, basis: None, ours: &["stages"], scratch: None, beside: None })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join(LOG)
    }

    pub fn beside(&self) -> Option<&'static str> {
        self.beside
    }

    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    pub fn missing(&self) -> Vec<&Stage> {
        let there = |name: &str| self.folder.join(name).exists();
        let stands = self.basis.is_none_or(there);
        let is_done = |stage: &&Stage| {
            let has = stage.makes.is_none_or(there) && there(&stage.mark);
            stands && (has || stage.covered_by.as_deref().is_some_and(there))
        };
        self.stages.iter().filter(|stage| !is_done(stage)).collect()
    }

    /// Bytes, for the missing stages.
    pub fn needed(&self) -> u64 {
        self.missing().into_iter().map(|stage| stage.bytes).sum()
    }

    pub fn free(&self) -> Result<u64, SetupError> {
        let there = self.folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let disk = statvfs(there).map_err(|errno| file("examine", there)(errno.into()))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Checks the folder, what the missing stages need, and the space. Writes nothing.
    pub fn check(&self) -> Result<(), SetupError> {
        let missing = self.missing();
        if missing.is_empty() {
            return Ok(());
        }
        self.check_folder()?;
        let mut checked = Vec::new();
        for tool in missing.iter().filter_map(|stage| stage.needs.as_ref()) {
            if !checked.contains(&tool) {
                tool.check()?;
                checked.push(tool);
            }
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
            let mark = self.folder.join(&stage.mark);
            File::create(&mark).and_then(|mark| mark.sync_all()).map_err(file("write", &mark))?;
            on(InstallEvent::End(stage));
        }
        self.scratch.map_or(Ok(()), |scratch| remove(&self.folder.join(scratch)))
    }

    fn run(
        &self,
        stage: &Stage,
        lock: &File,
        on: &mut dyn FnMut(InstallEvent<'_>),
    ) -> Result<(), SetupError> {
        if let Some(made) = stage.makes {
            remove(&self.folder.join(made))?;
        }
        for (path, text) in &stage.files {
            let folder = path.parent().unwrap_or(&self.folder);
            fs::create_dir_all(folder).map_err(file("create", folder))?;
            fs::write(path, text).map_err(file("write", path))?;
        }
        let path = self.log();
        let mut options = OpenOptions::new();
        let mut log = options.append(true).create(true).open(&path).map_err(file("open", &path))?;
        let mut lines = 0u64;
        for command in &stage.commands {
            let command = with_wheel(command)?;
            let mut line = |text: &str| {
                lines += 1;
                // Below 1: only the command's exit is the end.
                on(InstallEvent::Line(text, (lines as f64 / stage.lines as f64).min(0.95)));
            };
            child::run(&command, &mut log, lock, &mut line)
                .map_err(file("run a command with the log", &path))?
                .map_err(|failed| self.failed(stage, &command, &failed))?;
        }
        Ok(())
    }

    fn failed(&self, stage: &Stage, command: &StageCommand, failed: &Failed) -> SetupError {
        SetupError::Stage {
            stage: stage.name,
            command: command.shown(),
            remedy: remedy(&failed.last),
            ended: format!("{}: {}", failed.ended, failed.last),
            log: self.log(),
        }
    }

    /// A folder that is new, empty or made by Weir.
    fn check_folder(&self) -> Result<(), SetupError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(file("list", &self.folder)(error)),
        };
        let is_ours = self.ours.iter().any(|path| self.folder.join(path).exists());
        if entries.count() > 0 && !is_ours {
            return Err(SetupError::Foreign { folder: self.folder.clone() });
        }
        Ok(())
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

fn with_wheel(command: &StageCommand) -> Result<StageCommand, SetupError> {
    let mut command = command.clone();
    for word in &mut command.words {
        let Some(folder) = word.strip_suffix(WHEEL_PLACE).map(Path::new) else { continue };
        let entries = fs::read_dir(folder).map_err(file("list", folder))?;
        let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let mut wheels = paths.filter(|path| path.extension().is_some_and(|e| e == "whl"));
        let wheel = wheels.next().ok_or_else(|| {
            file("find a wheel in", folder)(io::Error::from(io::ErrorKind::NotFound))
        })?;
        *word = wheel.display().to_string();
    }
    Ok(command)
}

/// A folder or a file, where there is one.
fn remove(path: &Path) -> Result<(), SetupError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file("remove", path)(error)),
        _ => Ok(()),
    }
}

fn file(action: &'static str, path: &Path) -> impl Fn(io::Error) -> SetupError + use<> {
    let path = path.to_path_buf();
    move |source| SetupError::File { action, path: path.clone(), source }
}
