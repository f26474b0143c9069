use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use weir_service::{PinError, pin_thread};

use super::ProcessError;
use super::owner::Marks;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    pub name: String,
    pub program: PathBuf,
    pub args: Vec<String>,
    /// In addition to this process's environment.
    pub env: BTreeMap<String, String>,
    /// Words of the command line that must not be recorded.
    pub secrets: Vec<String>,
    /// Environment variables whose values must not be recorded.
    pub withheld: BTreeSet<String>,
    pub folder: PathBuf,
    /// Appended to.
    pub log: PathBuf,
    /// CPUs it may use. None for all.
    pub cores: Option<Vec<usize>>,
}

impl Recipe {
    pub(crate) fn without_secrets(&self, word: &str) -> String {
        let hide = |word: String, secret: &String| word.replace(secret.as_str(), "***");
        self.secrets.iter().filter(|secret| !secret.is_empty()).fold(word.to_owned(), hide)
    }
}

/// With the offset of its output in the log.
pub(super) fn spawn(recipe: &Recipe, marks: &Marks) -> Result<(Child, u64), ProcessError> {
    let failed = |error: io::Error| ProcessError::Start {
        name: recipe.name.clone(),
        program: recipe.program.clone(),
        error,
    };
    let no_log = |error: io::Error| ProcessError::Log {
        name: recipe.name.clone(),
        log: recipe.log.clone(),
        error,
    };
    let no_folder =
        || ProcessError::Folder { name: recipe.name.clone(), folder: recipe.folder.clone() };
    if !recipe.folder.is_dir() {
        // The system's error would name the program.
        return Err(no_folder());
    }
    let log = OpenOptions::new().create(true).append(true).open(&recipe.log).map_err(no_log)?;
    let begin = log.metadata().map_err(no_log)?.len();
    let mut command = Command::new(&recipe.program);
    command
        .args(&recipe.args)
        .envs(&recipe.env)
        .envs(marks.variables())
        .current_dir(&recipe.folder)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(no_log)?)
        .stderr(log);
    let Some(cores) = &recipe.cores else {
        return Ok((command.spawn().map_err(failed)?, begin));
    };
    // A bound thread starts it, so it never runs on other CPUs.
    let child = std::thread::scope(|scope| {
        scope.spawn(|| pin_thread(cores).map(|()| command.spawn())).join()
    });
    match child {
        Ok(Ok(spawned)) => Ok((spawned.map_err(failed)?, begin)),
        Ok(Err(PinError { core, .. })) => {
            Err(ProcessError::Core { name: recipe.name.clone(), core })
        }
        Err(_) => Err(failed(io::Error::other("the thread that starts it panicked"))),
    }
}
