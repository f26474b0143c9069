use std::path::{Path, PathBuf};

use weir_model::ModelShape;
use weir_spec::plan::{GENERATED, LocalTarget};

use crate::checkpoint;
use crate::error::DeployError;

/// Any of them is a tokenizer.
const TOKENIZERS: [&str; 4] = ["tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json"];

/// The target's folder or name, a generated checkpoint, or the model's name.
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
        Some(place) => {
            check(Path::new(place))?;
            Ok(place.to_owned())
        }
    }
}

/// Refuses an incomplete folder of the user's. vLLM starts without a tokenizer, and answers with
/// empty texts.
fn check(folder: &Path) -> Result<(), DeployError> {
    if !folder.is_dir() {
        return Ok(());
    }
    let lacks = |problem: &str, remedy: &str| DeployError::Weights {
        path: folder.display().to_string(),
        problem: problem.to_owned(),
        remedy: remedy.to_owned(),
    };
    if !folder.join("config.json").exists() {
        return Err(lacks("it has no config.json", "name the folder of a whole model"));
    }
    if !TOKENIZERS.iter().any(|name| folder.join(name).exists()) {
        return Err(lacks(
            "it has no tokenizer",
            "put the model's tokenizer.json and tokenizer_config.json there",
        ));
    }
    Ok(())
}
