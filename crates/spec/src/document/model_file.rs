//! `models`: a catalogue name, or the `config.json` of any model on the Hugging Face hub.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::Size;

/// A model that is read from a `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Path of the `config.json`, relative to the experiment file's folder or absolute.
    pub config: String,
    /// Name in paths and tables; without it the file's `_name_or_path`, or its folder's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Bytes of all weights as they are loaded; computed from the shape without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_bytes: Option<Size>,
    /// Longest sequence, where it is not the file's `max_position_embeddings`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<u32>,
}
