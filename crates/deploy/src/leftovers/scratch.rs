//! Folders that go with their owner, or are found by their names when it is gone.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use weir_store::held::{Held, hold, point_to};

use crate::error::DeployError;
use crate::process::Owner;

/// A folder that goes with its owner.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    /// The one below a folder of the user's, once there is one.
    beside: Option<PathBuf>,
    name: String,
    /// Its lock goes with this process, however that ends.
    _held: Held,
}

impl Scratch {
    /// Makes the folder below the system's folder for temporary files.
    pub fn new(owner: &Owner) -> Result<Self, DeployError> {
        let name = owner.folder_name();
        let folder = made(&std::env::temp_dir(), &name)?;
        let held = hold(&folder).map_err(|error| failed(&folder, error))?;
        Ok(Self { folder, beside: None, name, _held: held })
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Another one, below a folder of the user's, that goes with it.
    pub fn beside(&mut self, parent: &Path) -> Result<PathBuf, DeployError> {
        let parent = std::path::absolute(parent).map_err(|error| failed(parent, error))?;
        // A later run looks below the temporary folder: leave a sign of where else to look.
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

/// A fresh folder that only this user can look into, since what is cached there are prompts. What
/// another cell of this process left there goes.
fn made(parent: &Path, name: &str) -> Result<PathBuf, DeployError> {
    let folder = parent.join(name);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(&folder, error));
        }
        _ => {}
    }
    if !parent.exists() {
        // Its last folder alone: where more is missing, the path or a mount is wrong.
        fs::create_dir(parent).map_err(|error| failed(parent, error))?;
    }
    let made = DirBuilder::new().mode(0o700).create(&folder);
    made.map(|()| folder.clone()).map_err(|error| failed(&folder, error))
}

fn failed(folder: &Path, source: io::Error) -> DeployError {
    DeployError::File { what: "a scratch folder", path: folder.display().to_string(), source }
}
