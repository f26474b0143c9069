//! What can go wrong with an installation, and what to do then.

use std::io;
use std::path::PathBuf;

use weir_model::{Attributed, ErrorCause};

use super::router::RouterPart;
use super::tool::GO;

/// An installation that did not come to its end. What is done stays; the same command goes on.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(
        "no Python: `{python}` cannot be started ({source}); install one (`apt-get install python3 \
         python3-venv`), or name one with --python"
    )]
    NoPython { python: PathBuf, source: io::Error },
    #[error(
        "`{python}` is Python {version}, and vLLM with LMCache needs 3.11, 3.12 or 3.13; name one \
         with --python"
    )]
    Version { python: PathBuf, version: String },
    #[error(
        "`{python}` cannot make virtual environments ({said}); install that part (`apt-get install \
         python3-venv`), or name another Python with --python"
    )]
    NoVenv { python: PathBuf, said: String },
    #[error(
        "`{python}` has no pip ({said}); install it (`apt-get install python3-pip`), or name another \
         Python with --python"
    )]
    NoPip { python: PathBuf, said: String },
    #[error(
        "no Go: `{go}` cannot be started ({source}); install Go {needed} or newer \
         (https://go.dev/dl), or name one with --go",
        needed = go_needed()
    )]
    NoGo { go: PathBuf, source: io::Error },
    #[error(
        "`{go}` is {version}, and the endpoint pickers need Go {needed} or newer; install one \
         (https://go.dev/dl), name one with --go, or set GOTOOLCHAIN=auto, by which Go downloads it",
        needed = go_needed()
    )]
    OldGo { go: PathBuf, version: String },
    #[error("{part} is not installed; `{}` installs it", part.installed_by())]
    Absent { part: RouterPart },
    #[error(
        "{folder} needs {need_gb:.1} GB more, and its disk has {free_gb:.1} GB free; make room, or \
         install elsewhere with --into or WEIR_CACHE"
    )]
    Space {
        folder: PathBuf,
        /// What is still needed, GB.
        need_gb: f64,
        free_gb: f64,
    },
    #[error("{holder} installs into {folder}; wait for it, then run this again")]
    Busy { folder: PathBuf, holder: String },
    #[error("{folder} already exists and was not created by Weir; name an empty or a new folder")]
    Foreign { folder: PathBuf },
    #[error(
        "stage `{stage}` failed: `{command}` ended with {ended}; the whole output is in {log}; \
         {remedy}, then run this again: it goes on where it stopped"
    )]
    Stage {
        stage: &'static str,
        command: String,
        ended: String,
        log: PathBuf,
        remedy: &'static str,
    },
    #[error("cannot {action} {path}: {source}; check the rights and the space there")]
    File { action: &'static str, path: PathBuf, source: io::Error },
}

fn go_needed() -> String {
    GO.map(|number| number.to_string()).join(".")
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
    } else if has(&["no space left on device", "disk quota exceeded"]) {
        "make room on the disk (also in TMPDIR, GOCACHE and GOMODCACHE)"
    } else if has(&["dial tcp", "no such host", "i/o timeout", "TLS handshake"]) {
        "check the network, or name a module proxy (GOPROXY)"
    } else if has(&["checksum mismatch", "SECURITY ERROR"]) {
        "check which module proxy serves another content (GOPROXY)"
    } else if has(&["DO NOT MATCH THE HASHES"]) {
        "check which index serves another content (pip's PIP_INDEX_URL)"
    } else if has(&["signal: killed"]) {
        "free 2 GB of memory for Go's linker"
    } else if has(&["No matching distribution", "Could not find a version"]) {
        "check that pip's index has that version for this Python and CPU"
    } else if has(&["ensurepip", "No module named venv"]) {
        "install the rest of Python (`apt-get install python3-venv`)"
    } else if has(&["Permission denied", "permission denied"]) {
        "check the rights on the folder"
    } else {
        "read the log"
    }
}

impl Attributed for SetupError {
    fn fault(&self) -> ErrorCause {
        ErrorCause::mistake_if(matches!(self, Self::Foreign { .. }))
    }
}
