//! Programs that an installation needs, and which versions of them fit.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::error::SetupError;

/// Prints the version, and fails without the parts of a virtual environment.
const ASK: &str = "import sys; print('%d.%d' % sys.version_info[:2]); import venv, ensurepip";
/// Supported by both vLLM and LMCache.
const PYTHONS: [&str; 3] = ["3.11", "3.12", "3.13"];
/// What the modules of the pickers and of the engine simulator ask for.
pub(super) const GO: [u64; 3] = [1, 25, 7];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tool {
    /// A Python that makes virtual environments for vLLM.
    Venv(PathBuf),
    /// Any Python with pip.
    Pip(PathBuf),
    Go(PathBuf),
}

impl Tool {
    pub(super) fn check(&self) -> Result<(), SetupError> {
        match self {
            Self::Venv(python) => check_venv(python),
            Self::Pip(python) => check_pip(python),
            Self::Go(go) => check_go(go),
        }
    }
}

fn ask(program: &Path, words: &[&str]) -> io::Result<Output> {
    Command::new(program).args(words).stdin(Stdio::null()).output()
}

/// The last line of its errors.
fn complaint(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    said.trim().lines().last().unwrap_or("it says nothing").to_owned()
}

fn check_venv(python: &Path) -> Result<(), SetupError> {
    let no_python = |source| SetupError::NoPython { python: python.to_path_buf(), source };
    let asked = ask(python, &["-c", ASK]).map_err(no_python)?;
    let version = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    let (python, said) = (python.to_path_buf(), complaint(&asked));
    if version.is_empty() {
        return Err(SetupError::NoPython { python, source: io::Error::other(said) });
    }
    if !PYTHONS.contains(&version.as_str()) {
        return Err(SetupError::Version { python, version });
    }
    if asked.status.success() { Ok(()) } else { Err(SetupError::NoVenv { python, said }) }
}

fn check_pip(python: &Path) -> Result<(), SetupError> {
    let no_python = |source| SetupError::NoPython { python: python.to_path_buf(), source };
    let asked = ask(python, &["-m", "pip", "--version"]).map_err(no_python)?;
    if asked.status.success() {
        return Ok(());
    }
    Err(SetupError::NoPip { python: python.to_path_buf(), said: complaint(&asked) })
}

/// An older Go that may download a newer one is new enough.
fn check_go(go: &Path) -> Result<(), SetupError> {
    let no_go = |source| SetupError::NoGo { go: go.to_path_buf(), source };
    // Before 1.21, GOTOOLCHAIN is an empty line.
    let asked = ask(go, &["env", "GOVERSION", "GOTOOLCHAIN"]).map_err(no_go)?;
    if !asked.status.success() {
        return Err(no_go(io::Error::other(complaint(&asked))));
    }
    let said = String::from_utf8_lossy(&asked.stdout);
    let mut lines = said.lines();
    let version = lines.next().unwrap_or_default().trim();
    let toolchain = lines.next().unwrap_or_default().trim();
    if go_release(version).is_none_or(|release| release >= GO) || toolchain.contains("auto") {
        return Ok(());
    }
    Err(SetupError::OldGo { go: go.to_path_buf(), version: version.to_owned() })
}

/// Of `go1.25.7`, also with a suffix. A development version has none, and is taken for a new one.
fn go_release(version: &str) -> Option<[u64; 3]> {
    let plain = version.strip_prefix("go")?.split([' ', '-', 'r', 'b']).next()?;
    let mut numbers = plain.split('.').map(|number| number.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next().unwrap_or(Some(0))?])
}
