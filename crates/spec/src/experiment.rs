//! An experiment ready to be planned: the file, the flags applied to it, and the origin of each
//! value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::document::engine::EngineSection;
use crate::document::{self, Spec};
use crate::error::SpecError;
use crate::plan::Origin;
use crate::set;
use crate::withheld;

#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    /// As written; empty without a file.
    pub text: String,
    /// With all `--set` flags applied.
    pub spec: Spec,
    /// Model files and traces are relative to it.
    pub base: PathBuf,
    /// By path, of written values; lists are one value.
    pub origins: BTreeMap<String, Origin>,
    /// From the endpoint; they override the file.
    pub limits: EndpointLimits,
}

/// Limits of the engines behind an endpoint, as reported: the least over all its URLs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndpointLimits {
    /// Tokens (`max_model_len` of `/v1/models`).
    pub max_model_len: Option<u32>,
    /// KV pool of one engine (`vllm:cache_config_info`).
    pub kv_tokens: Option<u64>,
    /// Tokens per KV block (`vllm:cache_config_info`).
    pub block_size: Option<u32>,
}

impl EndpointLimits {
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
            one.into_iter().chain(other).min()
        }
        Self {
            max_model_len: least(self.max_model_len, other.max_model_len),
            kv_tokens: least(self.kv_tokens, other.kv_tokens),
            block_size: least(self.block_size, other.block_size),
        }
    }

    /// The engine's settings under these limits. `context` is the model's longest sequence, an
    /// upper bound.
    pub(crate) fn over(&self, section: &EngineSection, context: u32) -> EngineSection {
        if *self == Self::default() {
            return section.clone();
        }
        let pool = self.kv_tokens.map_or(u32::MAX, |held| u32::try_from(held).unwrap_or(u32::MAX));
        let longest = self.max_model_len.or(section.max_model_len).unwrap_or(context);
        EngineSection {
            max_model_len: Some(longest.min(context).min(pool)),
            kv_tokens: self.kv_tokens.or(section.kv_tokens),
            block_size: self.block_size.or(section.block_size),
            ..section.clone()
        }
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            ("engine.max_model_len", self.max_model_len.is_some()),
            ("engine.kv_tokens", self.kv_tokens.is_some()),
            ("engine.block_size", self.block_size.is_some()),
        ];
        all.into_iter().filter_map(|(key, is_set)| is_set.then_some(key))
    }
}

impl Experiment {
    /// Applies `--set` flags (`path=value`) in their order.
    pub fn read(path: &Path, sets: &[String]) -> Result<Self, SpecError> {
        let text = std::fs::read_to_string(path).map_err(|source| SpecError::Read {
            what: "experiment file",
            path: path.to_owned(),
            source,
        })?;
        let base = path.parent().unwrap_or(Path::new("")).to_owned();
        Self::parse(&text, &path.display().to_string(), &base, sets)
    }

    pub fn parse(text: &str, file: &str, base: &Path, sets: &[String]) -> Result<Self, SpecError> {
        // Typed first, because these errors have a line and a column.
        let spec = Spec::parse(text, file)?;
        let written: Value = document::read_yaml(text, file)?;
        let mut origins = BTreeMap::new();
        if let Value::Object(keys) = &written {
            for (key, value) in keys {
                record_leaves(key, value, &mut origins);
            }
        }
        let mut read =
            Self { text: text.to_owned(), base: base.to_owned(), origins, ..Self::of(spec) };
        read.set(sets)?;
        Ok(read)
    }

    /// Without a file; relative paths start from the working directory.
    pub fn of(spec: Spec) -> Self {
        Self {
            text: String::new(),
            spec,
            base: PathBuf::new(),
            origins: BTreeMap::new(),
            limits: EndpointLimits::default(),
        }
    }

    pub fn set(&mut self, flags: &[String]) -> Result<(), SpecError> {
        for flag in flags {
            let (changed, path) = set::apply(&self.spec, flag)?;
            self.spec = changed;
            let below = format!("{path}.");
            self.origins.retain(|known, _| *known != path && !known.starts_with(&below));
            self.origins.insert(path, Origin::Set(withheld::recorded_flag(flag)));
        }
        Ok(())
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
