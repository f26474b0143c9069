//! Where an engine's weights are.

use std::path::PathBuf;

use weir_model::ModelShape;
use weir_spec::plan::{GENERATED, LocalTarget};

use crate::checkpoint;
use crate::error::DeployError;

/// The weights' folder or name: as the target says, a generated checkpoint, or the model's name.
pub(super) fn place(target: &LocalTarget, model: &ModelShape) -> Result<String, DeployError> {
    match target.weights.as_deref() {
        None => Ok(model.name.clone()),
        Some(GENERATED) => {
            let slug: String = model
                .name
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
                .collect();
            let folder: PathBuf = crate::setup::cache_folder()?.join("checkpoints").join(slug);
            checkpoint::write(&folder, model)?;
            Ok(folder.display().to_string())
        }
        Some(place) => Ok(place.to_owned()),
    }
}
