//! Checks of a target without measuring or changing it.

use std::io;
use std::path::Path;

use rustix::fs::{Access, access};
use weir_model::Bytes;
use weir_store::available_memory;

use super::SubjectOptions;
use super::store::{check_lines, check_room};
use crate::config::ProbeConfig;
use crate::error::ProbeError;
use crate::target::ProbeTarget;
use crate::volume::buffer_bytes;

/// Refuses targets that a probe would refuse before measuring.
pub fn check(
    target: &ProbeTarget,
    options: &SubjectOptions,
    config: &ProbeConfig,
) -> Result<(), ProbeError> {
    let buffers = config.blocks.iter().map(|block| buffer_bytes(config, block.bytes)).max();
    let buffers = buffers.unwrap_or_default();
    match target {
        ProbeTarget::Memory => fits(Bytes(options.capacity.0.saturating_add(buffers.0)))?,
        _ => fits(buffers)?,
    }
    match target {
        ProbeTarget::Memory | ProbeTarget::Store(_) => Ok(()),
        ProbeTarget::Disk(folder) => check_folder(folder),
        ProbeTarget::Started(product) => {
            check_lines(&options.lines)?;
            weir_store::server::installed(*product)?;
            check_room(*product, options)
        }
    }
}

fn fits(wanted: Bytes) -> Result<(), ProbeError> {
    match available_memory() {
        Some((free, of)) if wanted.0 > free => {
            Err(ProbeError::NoMemory { wanted, free: Bytes(free), of })
        }
        _ => Ok(()),
    }
}

fn check_folder(folder: &Path) -> Result<(), ProbeError> {
    let failed = |source: io::Error| ProbeError::System {
        what: format!("cannot write to {}; check the folder", folder.display()),
        source,
    };
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let there = if folder.exists() { folder } else { parent };
    if !there.exists() {
        return Err(ProbeError::NoFolder { folder: folder.to_owned(), parent: parent.to_owned() });
    }
    if !there.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    access(there, Access::WRITE_OK | Access::EXEC_OK).map_err(|errno| failed(errno.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_looked_at_and_not_made() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::write(at("file"), "").unwrap();
        check_folder(place.path()).unwrap();
        check_folder(&at("new")).unwrap();
        for (name, said) in
            [("none/new", "none does not exist"), ("file", "cannot write"), ("file/kv", "file/kv")]
        {
            let refused = check_folder(&at(name)).unwrap_err().to_string();
            assert!(refused.contains(said), "{name}: {refused}");
        }
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn more_memory_than_there_is_is_refused() {
        fits(Bytes(1)).unwrap();
        let refused = fits(Bytes(1 << 60)).unwrap_err().to_string();
        assert!(refused.contains("of memory would be taken, and there are"), "{refused}");
    }
}
