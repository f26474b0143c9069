//! The programs that are pickers, with what each can do.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use memchr::memmem;
use parking_lot::Mutex;

/// Families of pickers. Configuration and command line differ between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PickerRelease {
    /// Gateway API inference extension 1.4 and 1.5: an approximate index only.
    Gateway,
    /// llm-d-inference-scheduler 0.7.
    Scheduler,
    /// llm-d-router 0.9 and later, the same project under a new name.
    Router,
}

#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("cannot read the picker {path}: {source}; check the path")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{0} is not an endpoint picker that is supported; expected llm-d-inference-scheduler 0.7, \
         llm-d-router 0.9 or later, or the picker of gateway-api-inference-extension 1.4 or 1.5"
    )]
    Unknown(PathBuf),
}

/// A program as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ReadProgram {
    path: PathBuf,
    bytes: u64,
    changed: SystemTime,
}

/// A picker has some 90 MB, and each cell asks.
static KNOWN: Mutex<Vec<(ReadProgram, PickerRelease)>> = Mutex::new(Vec::new());

/// The Go linker writes the main package of a program into it, behind this word.
const PACKAGE: &[u8] = b"path\t";

impl PickerRelease {
    /// From the main package, which is llm-d's also where a module of ours builds it. A program
    /// that has not changed since is not read again.
    pub fn of(program: &Path) -> Result<Self, ReleaseError> {
        let failed = |source| ReleaseError::Read { path: program.to_path_buf(), source };
        let about = fs::metadata(program).map_err(failed)?;
        let changed = about.modified().map_err(failed)?;
        let read = ReadProgram { path: program.to_path_buf(), bytes: about.len(), changed };
        let known = KNOWN.lock().iter().find(|(of, _)| *of == read).map(|(_, release)| *release);
        if let Some(release) = known {
            return Ok(release);
        }
        let release = Self::read(program)?;
        let mut known = KNOWN.lock();
        known.retain(|(of, _)| of.path != program);
        known.push((read, release));
        Ok(release)
    }

    fn read(program: &Path) -> Result<Self, ReleaseError> {
        let bytes = fs::read(program)
            .map_err(|source| ReleaseError::Read { path: program.to_path_buf(), source })?;
        let mut mains = memmem::find_iter(&bytes, PACKAGE).filter_map(|begin| {
            let rest = &bytes[begin + PACKAGE.len()..];
            let end = rest.iter().take(200).position(|byte| *byte == b'\n')?;
            std::str::from_utf8(&rest[..end]).ok()
        });
        mains.find_map(Self::of_package).ok_or_else(|| ReleaseError::Unknown(program.to_path_buf()))
    }

    fn of_package(package: &str) -> Option<Self> {
        [
            ("github.com/llm-d/llm-d-router", Self::Router),
            ("github.com/llm-d/llm-d-inference-scheduler", Self::Scheduler),
            ("sigs.k8s.io/gateway-api-inference-extension", Self::Gateway),
        ]
        .into_iter()
        .find_map(|(module, release)| package.starts_with(module).then_some(release))
    }

    /// From the name of a container image. None where it has none of the projects' names.
    pub fn of_image(image: &str) -> Option<Self> {
        let projects = [
            ("llm-d-router", Self::Router),
            ("llm-d-inference-scheduler", Self::Scheduler),
            ("gateway-api-inference-extension", Self::Gateway),
        ];
        projects.into_iter().find_map(|(name, release)| image.contains(name).then_some(release))
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway-api-inference-extension",
            Self::Scheduler => "llm-d-inference-scheduler",
            Self::Router => "llm-d-router",
        }
    }

    /// False: a prompt must be text (`400 must have prompt field` otherwise).
    pub const fn takes_token_ids(self) -> bool {
        matches!(self, Self::Router)
    }

    /// False: it finds its replicas through a Kubernetes API server.
    pub const fn reads_endpoints_file(self) -> bool {
        matches!(self, Self::Router)
    }

    /// Whether a precise index asks a tokenizer service over gRPC for tokens. llm-d-router asks an
    /// engine itself.
    pub const fn asks_tokenizer(self) -> bool {
        matches!(self, Self::Scheduler)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_package_names_the_release() {
        let folder = std::env::temp_dir().join(format!("weir-release-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let program = folder.join("epp");
        let of = |bytes: &[u8]| {
            fs::write(&program, bytes).unwrap();
            PickerRelease::of(&program).ok()
        };
        let scheduler = b"\0x\xffpath\tgithub.com/llm-d/llm-d-inference-scheduler/cmd/epp\nmod\tweir/router\t(devel)\n";
        assert_eq!(of(scheduler), Some(PickerRelease::Scheduler));
        let router = b"..path\tgithub.com/llm-d/llm-d-router/cmd/epp\nmod\tgithub.com/llm-d/llm-d-router\tv0.10.0\n";
        assert_eq!(of(router), Some(PickerRelease::Router));
        let gateway = b"path\tx\0path\tsigs.k8s.io/gateway-api-inference-extension/cmd/epp\n";
        assert_eq!(of(gateway), Some(PickerRelease::Gateway));
        assert_eq!(of(b"#!/bin/sh\n"), None);
        assert_eq!(of(router), Some(PickerRelease::Router));
        let about = fs::metadata(&program).unwrap();
        // Of the same length and time: it is not read.
        let other = vec![b'x'; router.len()];
        fs::write(&program, other).unwrap();
        fs::File::options()
            .write(true)
            .open(&program)
            .unwrap()
            .set_modified(about.modified().unwrap())
            .unwrap();
        assert_eq!(PickerRelease::of(&program).ok(), Some(PickerRelease::Router));
        fs::remove_dir_all(&folder).unwrap();
    }
}
