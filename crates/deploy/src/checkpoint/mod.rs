//! A model's folder with random weights, made from its shape: what a real engine loads where no
//! trained model is at hand.
//!
//! Uniform tiny weights, as vLLM makes them with `--load-format dummy`, answer the same whatever
//! the KV cache holds. These do not: `docs/checkpoint.md` says why.

#[cfg(test)]
mod tests;
mod tokenizer;
mod weights;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weir_model::ModelShape;
use weir_model::{Attributed, ErrorCause};
use xxhash_rust::xxh3::xxh3_64;

use weights::Weights;

/// Raised whenever the same shape gets other files.
const FORMAT: u32 = 1;
/// Written last; a folder without it was not made here.
const MARKER: &str = "weir-checkpoint.json";
/// The engine stops at this token, which the weights never choose.
const END: u32 = 2;
const PADDING: u32 = 0;

/// A checkpoint that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The shape is not one of a dense Qwen3.
    #[error("no checkpoint of `{model}` can be made: {problem}; take another model")]
    Shape {
        model: String,
        /// What does not fit.
        problem: String,
    },
    #[error("{path} exists and was not made by Weir; name another folder, or remove it")]
    Foreign { path: PathBuf },
    #[error("cannot write the checkpoint {path}: {source}; check the rights and the space there")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Marker {
    format: u32,
    shape: String,
    /// Bytes of the weights' file.
    bytes: u64,
}

impl Attributed for CheckpointError {
    fn fault(&self) -> ErrorCause {
        ErrorCause::mistake_if(matches!(self, Self::Shape { .. } | Self::Foreign { .. }))
    }
}

/// Writes the checkpoint of a shape into `folder`: `config.json`, `generation_config.json`, a
/// byte-level tokenizer and `model.safetensors`, in 16 bits, or in 32 where a weight of the shape
/// has 4 bytes. Does nothing where that folder is complete; replaces one of another shape.
///
/// The same shape gives the same bytes everywhere. The folder is whole or not there, also when the
/// process is killed, and two processes may want it at once: the later one waits.
pub fn write(folder: &Path, shape: &ModelShape) -> Result<(), CheckpointError> {
    let weights = Weights::of(shape)?;
    let marker = Marker {
        format: FORMAT,
        shape: format!("{:016x}", xxh3_64(weights.identity().as_bytes())),
        bytes: weights.file_bytes(),
    };
    // A name is needed for what stands beside it, and `.` has none.
    let folder = std::path::absolute(folder).map_err(at(folder))?;
    let folder = folder.as_path();
    if is_complete(folder, &marker) {
        return Ok(());
    }
    check_ours(folder)?;
    let name = folder.file_name().ok_or_else(|| CheckpointError::Write {
        path: folder.to_path_buf(),
        source: io::Error::new(io::ErrorKind::InvalidInput, "expected the name of a folder"),
    })?;
    let name = name.to_string_lossy();
    let parent = folder.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(at(parent))?;
    let _lock = lock(&parent.join(format!(".{name}.lock")))?;
    if is_complete(folder, &marker) {
        return Ok(());
    }
    // Nobody else writes while the lock is held: what is there was left by a killed process.
    let temporary = parent.join(format!(".{name}.part"));
    remove(&temporary)?;
    fill(&temporary, shape, &weights, &marker)?;
    check_ours(folder)?;
    remove(folder)?;
    fs::rename(&temporary, folder).map_err(at(folder))?;
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(at(parent))
}

/// Refuses a folder that is neither new, empty nor made here.
fn check_ours(folder: &Path) -> Result<(), CheckpointError> {
    let is_empty = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(at(folder)(error)),
    };
    if is_empty || folder.join(MARKER).exists() {
        return Ok(());
    }
    Err(CheckpointError::Foreign { path: folder.to_path_buf() })
}

fn is_complete(folder: &Path, wanted: &Marker) -> bool {
    let found = fs::read(folder.join(MARKER)).ok();
    let found = found.and_then(|bytes| serde_json::from_slice::<Marker>(&bytes).ok());
    let bytes = fs::metadata(folder.join(weights::FILE)).map(|data| data.len());
    found.as_ref() == Some(wanted) && bytes.is_ok_and(|bytes| bytes == wanted.bytes)
}

/// Waits for the lock. A killed process lets go of it.
fn lock(path: &Path) -> Result<File, CheckpointError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let file = options.open(path).map_err(at(path))?;
    flock(&file, FlockOperation::LockExclusive).map_err(|errno| at(path)(errno.into()))?;
    Ok(file)
}

fn remove(folder: &Path) -> Result<(), CheckpointError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(folder)(error)),
        _ => Ok(()),
    }
}

fn fill(
    folder: &Path,
    shape: &ModelShape,
    weights: &Weights,
    marker: &Marker,
) -> Result<(), CheckpointError> {
    fs::create_dir(folder).map_err(at(folder))?;
    write_json(&folder.join("config.json"), &config(shape, weights.dtype()))?;
    let generation = json!({ "eos_token_id": END, "pad_token_id": PADDING });
    write_json(&folder.join("generation_config.json"), &generation)?;
    write_json(&folder.join("tokenizer.json"), &tokenizer::tokenizer(shape.vocabulary))?;
    write_json(&folder.join("tokenizer_config.json"), &tokenizer::config(shape.context))?;
    let path = folder.join(weights::FILE);
    let file = File::create(&path).map_err(at(&path))?;
    weights.write(file).map_err(at(&path))?;
    let marker = serde_json::to_value(marker).unwrap_or_default();
    write_json(&folder.join(MARKER), &marker)
}

fn write_json(path: &Path, value: &Value) -> Result<(), CheckpointError> {
    let mut file = File::create(path).map_err(at(path))?;
    file.write_all(format!("{value:#}\n").as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(at(path))
}

fn config(shape: &ModelShape, dtype: &str) -> Value {
    json!({
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "intermediate_size": shape.intermediate,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "attention_bias": false,
        "tie_word_embeddings": false,
        "torch_dtype": dtype,
        "hidden_act": "silu",
        "bos_token_id": PADDING,
        "eos_token_id": END,
    })
}

fn at(path: &Path) -> impl Fn(io::Error) -> CheckpointError + '_ {
    move |source| CheckpointError::Write { path: path.to_path_buf(), source }
}
