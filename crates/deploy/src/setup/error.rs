//! What can go wrong with an installation, and what to do then.

use std::io;
use std::path::PathBuf;

/// An installation that did not come to its end. What is done stays; the same command goes on.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// There is no such interpreter.
    #[error(
        "no Python: `{python}` cannot be started ({source}); install one (`apt-get install python3 \
         python3-venv`), or name one with --python"
    )]
    NoPython {
        /// As asked for.
        python: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It is too old or too new.
    #[error(
        "`{python}` is Python {version}, and vLLM with LMCache needs 3.11, 3.12 or 3.13; name one \
         with --python"
    )]
    Version {
        /// As asked for.
        python: PathBuf,
        /// What it says.
        version: String,
    },
    /// It cannot make virtual environments.
    #[error(
        "`{python}` cannot make virtual environments ({said}); install that part (`apt-get install \
         python3-venv`), or name another Python with --python"
    )]
    NoVenv {
        /// As asked for.
        python: PathBuf,
        /// Its last words.
        said: String,
    },
    /// The disk is too full.
    #[error(
        "{folder} needs {need_gb:.1} GB more, and its disk has {free_gb:.1} GB free; make room, or \
         install elsewhere with --into or WEIR_CACHE"
    )]
    Space {
        /// Where it would be installed.
        folder: PathBuf,
        /// What is still needed, GB.
        need_gb: f64,
        /// What is free, GB.
        free_gb: f64,
    },
    /// Another process installs there.
    #[error("{holder} installs into {folder}; wait for it, then run this again")]
    Busy {
        /// Where.
        folder: PathBuf,
        /// Who.
        holder: String,
    },
    /// Somebody else's folder.
    #[error("{folder} exists and holds no installation of ours; name an empty or a new folder")]
    Foreign {
        /// The folder.
        folder: PathBuf,
    },
    /// A stage's command failed.
    #[error(
        "stage `{stage}` failed: `{command}` ended with {ended}; the whole output is in {log}; \
         {remedy}, then run this again: it goes on where it stopped"
    )]
    Stage {
        /// The stage.
        stage: &'static str,
        /// The command.
        command: String,
        /// How it ended, with its last words.
        ended: String,
        /// Where all of them are.
        log: PathBuf,
        /// What to do.
        remedy: &'static str,
    },
    /// A file or folder cannot be used.
    #[error("cannot {action} {path}: {source}; check the rights and the space there")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl SetupError {
    /// True where the user's own words are wrong, and not what they speak of.
    pub const fn is_mistake(&self) -> bool {
        matches!(self, Self::Foreign { .. })
    }
}

/// What to do about a command, by its last words.
pub(super) fn remedy(said: &str) -> &'static str {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["No space left", "Disk quota"]) {
        "make room on the disk (also in TMPDIR and in pip's cache)"
    } else if has(&[
        "Temporary failure in name resolution",
        "Name or service not known",
        "Connection",
        "Network is unreachable",
        "Read timed out",
        "ProxyError",
        "SSLError",
    ]) {
        "check the network, or name a mirror (pip's PIP_INDEX_URL)"
    } else if has(&["No matching distribution", "Could not find a version"]) {
        "check that pip's index has that version for this Python and processor"
    } else if has(&["ensurepip", "No module named venv"]) {
        "install the rest of Python (`apt-get install python3-venv`)"
    } else if has(&["Permission denied"]) {
        "check the rights on the folder"
    } else {
        "read the log"
    }
}
