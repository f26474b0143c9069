//! Errors of an experiment: one line with the file, flag or key, the fault, and what to write
//! instead.

use std::path::PathBuf;
use weir_model::{Attributed, ErrorCause};

#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("cannot read {what} {}: {source}; check the path", path.display())]
    Read { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{file}:{line}:{column}: {message}")]
    Syntax {
        file: String,
        /// From 1.
        line: u64,
        /// From 1.
        column: u64,
        /// The fault, with the accepted keys where one is unknown.
        message: String,
    },
    /// The text is valid YAML, but its values cannot be planned.
    #[error("{}: {source}", path.display())]
    InFile { path: PathBuf, source: Box<SpecError> },
    #[error("{path} has changed since the run was planned; restore it, or start a new run")]
    InputChanged { path: String },
    #[error("--set {flag}: {message}")]
    Set { flag: String, message: String },
    #[error("{key}: {problem}; {remedy}")]
    Value { key: String, problem: String, remedy: String },
    #[error("{key}: unknown {what} `{name}`{nearest}; `weir list {list}` prints the known ones")]
    UnknownName {
        key: String,
        what: &'static str,
        name: String,
        nearest: String,
        list: &'static str,
    },
    #[error("{}: {problem}", path.display())]
    ModelConfig { path: PathBuf, problem: String },
    #[error(
        "models: {model} does not fit: each of {ranks} {accelerator} offers {usable:.1} GiB, and \
         needs {weights:.1} GiB of weights and {overhead:.1} GiB besides; use more or larger \
         accelerators, or a quantized model"
    )]
    DoesNotFit {
        model: String,
        ranks: u32,
        accelerator: String,
        /// Usable by vLLM on each accelerator, GiB.
        usable: f64,
        /// On each accelerator, GiB.
        weights: f64,
        /// Everything else on each accelerator, GiB.
        overhead: f64,
    },
    /// The pool cannot hold one longest sequence, so vLLM does not start.
    #[error(
        "engine.max_model_len: the GPUs hold {holds} KV tokens{}, fewer than one sequence of \
         {max_model_len}; set engine.max_model_len to at most {holds}, or use more memory",
        without_manager(arm.as_deref())
    )]
    PoolTooSmall {
        /// The arm whose connector switches vLLM's hybrid KV cache manager off, where that is the
        /// cause.
        arm: Option<String>,
        holds: u64,
        max_model_len: u32,
    },
    /// A connector with which vLLM does not start the model.
    #[error(
        "arms.{arm}: vLLM {vllm} switches its hybrid KV cache manager off for this connector, and \
         does not start {model} without it; {remedy}"
    )]
    NeedsHybridManager { arm: String, model: String, vllm: String, remedy: &'static str },
    #[error(
        "models: the weights of {model} are not known: {why}; write `models: [{{config: FILE, \
         weight_bytes: 16GB}}]`"
    )]
    UnknownWeights { model: String, why: String },
    #[error("{}: {problem}; {remedy}", path.display())]
    LinkProfile { path: PathBuf, problem: String, remedy: String },
    #[error("workload: {0}")]
    Workload(String),
}

impl Attributed for SpecError {
    fn fault(&self) -> ErrorCause {
        ErrorCause::User
    }
}

impl SpecError {
    pub(crate) fn value(
        key: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Value { key: key.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// With the nearest name of the catalogue.
    pub(crate) fn unknown<'a>(
        key: impl Into<String>,
        what: &'static str,
        name: &str,
        list: &'static str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let nearest = did_you_mean(name, known);
        Self::UnknownName { key: key.into(), what, name: name.to_owned(), nearest, list }
    }
}

/// ` (did you mean ...?)`, or an empty text.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map_or_else(String::new, |known| format!(" (did you mean `{known}`?)"))
}

/// By edit distance, if it is near enough for a slip.
fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| {
            let full = edit_distance(&lower, &candidate.to_lowercase());
            // `qwen3-8b` stands for `Qwen/Qwen3-8B`.
            let bare = candidate.rsplit('/').next().unwrap_or(candidate).to_lowercase();
            (full.min(edit_distance(&lower, &bare)), candidate)
        })
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| {
            let length = name.chars().count();
            // Without a common letter it is another word.
            *distance < length && *distance <= (length / 3).max(2)
        })
        .map(|(_, candidate)| candidate)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

fn without_manager(arm: Option<&str>) -> String {
    arm.map_or(String::new(), |arm| format!(" in {arm}, without vLLM's hybrid KV cache manager"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_nonsense_does_not() {
        let known = ["Qwen/Qwen3-8B", "Qwen/Qwen3-14B", "openai/gpt-oss-20b"];
        assert_eq!(nearest("qwen3-8b", known), Some("Qwen/Qwen3-8B"));
        assert_eq!(nearest("Qwen/Qwen3-18B", known), Some("Qwen/Qwen3-8B"));
        assert_eq!(nearest("something else entirely", known), None);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
