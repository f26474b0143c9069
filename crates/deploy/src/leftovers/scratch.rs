//! Folders removed with their owner, or later by name.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use weir_store::held::{Held, hold, point_to};

use crate::error::DeployError;
use crate::process::Owner;

#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    /// Its twin below a folder of the user's.
    beside: Option<PathBuf>,
    name: String,
    /// Released with this process, however it ends.
    _held: Held,
}

impl Scratch {
    /// Below the system's temporary folder.
    pub fn new(owner: &Owner) -> Result<Self, DeployError> {
        let name = owner.folder_name();
        let folder = made(&std::env::temp_dir(), &name)?;
        let held = hold(&folder).map_err(|error| failed(&folder, error))?;
        Ok(Self { folder, beside: None, name, _held: held })
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Makes a twin below a folder of the user's, removed together.
    pub fn beside(&mut self, parent: &Path) -> Result<PathBuf, DeployError> {
        let parent = std::path::absolute(parent).map_err(|error| failed(parent, error))?;
        // A later run looks below the temporary folder: note the twin there.
        let folder = parent.join(&self.name);
        point_to(&self.folder, &folder).map_err(|error| failed(&self.folder, error))?;
        let folder = made(&parent, &self.name)?;
        self.beside = Some(folder.clone());
        Ok(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for folder in self.beside.iter().chain([&self.folder]) {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// A fresh folder with access for this user only, since cached blocks are prompts. Replaces one of
/// an earlier cell of this process.
fn made(parent: &Path, name: &str) -> Result<PathBuf, DeployError> {
    let folder = parent.join(name);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(&folder, error));
        }
        _ => {}
    }
    if !parent.exists() {
        // Only its last part: where more is missing, the path or a mount is wrong.
        fs::create_dir(parent).map_err(|error| failed(parent, error))?;
    }
    let made = DirBuilder::new().mode(0o700).create(&folder);
    made.map(|()| folder.clone()).map_err(|error| failed(&folder, error))
}

fn failed(folder: &Path, source: io::Error) -> DeployError {
    DeployError::File { what: "a scratch folder", path: folder.display().to_string(), source }
}
