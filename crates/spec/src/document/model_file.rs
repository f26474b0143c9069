//! `models`: a catalogue name, or the `config.json` of any model on the Hugging Face hub.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use weir_model::quantity::Size;

/// A model that is read from a `config.json`.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Path of the `config.json`, relative to the experiment file's folder or absolute.
    pub config: String,
    /// Name in paths and tables; without it the file's `_name_or_path`, or its folder's name.
    pub name: Option<String>,
    /// Bytes of all weights as they are loaded; computed from the shape without it.
    pub weight_bytes: Option<Size>,
    /// Longest sequence, where it is not the file's `max_position_embeddings`.
    pub context: Option<u32>,
}

impl ModelFile {
    /// The model of a file, with everything as the file says.
    pub fn at(config: &str) -> Self {
        Self { config: config.to_owned(), name: None, weight_bytes: None, context: None }
    }
}
