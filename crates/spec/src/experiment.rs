//! An experiment ready to be planned: the file, the flags laid over it, and where each value
//! came from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::document::{self, Spec};
use crate::error::SpecError;
use crate::plan::Origin;
use crate::set;

/// What was written, with the folder that relative paths start from.
#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    /// The file with all `--set` flags applied.
    pub spec: Spec,
    /// Folder of the file: model files and traces are relative to it.
    pub base: PathBuf,
    /// Origin of each value that was written, by path; lists are one value.
    pub origins: BTreeMap<String, Origin>,
}

impl Experiment {
    /// Reads a file and lays `--set` flags (`path=value`) over it, in their order.
    pub fn read(path: &Path, sets: &[String]) -> Result<Self, SpecError> {
        let text = std::fs::read_to_string(path).map_err(|source| SpecError::Read {
            what: "experiment file",
            path: path.to_owned(),
            source,
        })?;
        let base = path.parent().unwrap_or(Path::new("")).to_owned();
        Self::parse(&text, &path.display().to_string(), &base, sets)
    }

    /// The same from a text; `file` stands in the errors.
    pub fn parse(text: &str, file: &str, base: &Path, sets: &[String]) -> Result<Self, SpecError> {
        // Typed first: this is where errors have a line and a column.
        let mut spec = Spec::parse(text, file)?;
        let written: Value = document::read_yaml(text, file)?;
        let mut origins = BTreeMap::new();
        if let Value::Object(keys) = &written {
            for (key, value) in keys {
                record_leaves(key, value, &mut origins);
            }
        }
        for flag in sets {
            let (changed, path) = set::apply(&spec, flag)?;
            spec = changed;
            let below = format!("{path}.");
            origins.retain(|known, _| *known != path && !known.starts_with(&below));
            origins.insert(path, Origin::Set(flag.clone()));
        }
        Ok(Self { spec, base: base.to_owned(), origins })
    }
}

/// Records every leaf below a key; lists count as leaves.
fn record_leaves(path: &str, value: &Value, origins: &mut BTreeMap<String, Origin>) {
    match value {
        Value::Object(keys) if !keys.is_empty() => {
            for (key, value) in keys {
                record_leaves(&format!("{path}.{}", set::quoted(key)), value, origins);
            }
        }
        _ => {
            let origin = match set::split_path(path) {
                Ok(parts) if parts.first().is_some_and(|first| first == "overrides") => {
                    Origin::Override(parts.get(1).cloned().unwrap_or_default())
                }
                _ => Origin::File,
            };
            origins.insert(path.to_owned(), origin);
        }
    }
}
