//! Tests of the crate through its public interface.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "clippy exempts test functions, but not the functions that they call"
)]

mod config;
mod dialects;
mod generators;
/// `seen_tokens` against a plain cache of blocks without limits.
mod seen;
/// Shards of a load against the whole.
mod shards;
mod traces;

use std::path::PathBuf;

use weir_model::Tokens;
use weir_workload::{
    Session, SessionSource, Source, SourceOptions, WorkloadConfig, WorkloadError, open,
};

/// A context that everything fits.
pub fn options(seed: u64) -> SourceOptions {
    SourceOptions {
        seed,
        max_model_len: Tokens(10_000_000),
        trace_speed: 1.0,
        trace_folder: PathBuf::new(),
    }
}

pub fn workload(yaml: &str) -> WorkloadConfig {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"))
}

pub fn source(yaml: &str, seed: u64) -> Source {
    open(&workload(yaml), &options(seed)).unwrap_or_else(|error| panic!("{yaml}: {error}"))
}

pub fn take(source: &mut dyn SessionSource, n: usize) -> Vec<Session> {
    std::iter::from_fn(|| source.next_session()).take(n).collect()
}

pub fn message<T: std::fmt::Debug>(result: Result<T, WorkloadError>) -> String {
    result.unwrap_err().to_string()
}

pub const SHARED_PREFIX: &str = "shared-prefix: {prefixes: 12, draw: {zipf: {exponent: 1.1}}, \
    prefix_tokens: 1000, turns: 4, prompt_tokens: {normal: {mean: 140, stddev: 30, min: 16, \
    max: 400}}, output_tokens: {lognormal: {median: 90, sigma: 0.7, min: 1, max: 600}}, think: 2s}";
pub const LONG_CONTEXT: &str = "long-context: {documents: 20, draw: uniform, document_tokens: \
    {uniform: {min: 200, max: 900}}, documents_per_prompt: 2, system_tokens: 50, questions: 3, \
    question_tokens: 30, output_tokens: {fixed: 64}, think: 500ms}";
pub const AGENTIC: &str = "agentic: {system_tokens: 800, task_tokens: {uniform: {min: 50, \
    max: 90}}, tool_calls: {uniform: {min: 0, max: 5}}, call_tokens: 40, result_tokens: {uniform: {min: 10, \
    max: 300}}, tool_time: 250ms, sub_agents: 2, sub_agent_calls: 2, \
    answer_tokens: 120}";
