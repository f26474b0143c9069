//! Integration tests of the experiment file: what it accepts, refuses and becomes.

#![allow(clippy::print_stdout)]

mod examples;
mod json_schema;
mod model_configs;
mod predictions;
mod profiles;
mod refusals;
mod resolution;
mod schema;
mod sets;
mod sizes;
mod targets;

use std::path::Path;

use weir_spec::{Experiment, Plan, SpecError};

pub(crate) const SMALL: &str = "\
name: small
models: [Qwen/Qwen3-8B]
hardware: 2x-l40s
engine: {max_num_seqs: 256}
arms: [no-offload, native-offload]
workload:
  shared-prefix: {prefixes: 4, prefix_tokens: 1000, turns: 1, prompt_tokens: 100, output_tokens: 20}
load: {users: [2], duration: 10s}
";

pub(crate) fn plan(text: &str, sets: &[&str]) -> Result<Plan, SpecError> {
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    Plan::resolve(&Experiment::parse(text, "test.yaml", Path::new(""), &sets)?)
}

/// As one line.
pub(crate) fn error(text: &str, sets: &[&str]) -> String {
    let message = plan(text, sets).expect_err("it should be refused").to_string();
    assert!(!message.contains('\n'), "more than one line: {message}");
    message
}
