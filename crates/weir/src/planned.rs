//! From the command line's experiment to a plan.

use std::path::Path;

use weir_lab::{LabError, Planned};

use crate::cli::ExperimentArgs;

/// Reads and resolves an experiment; without a file, the built-in one.
pub(crate) fn planned(args: &ExperimentArgs) -> Result<Planned, LabError> {
    match &args.file {
        Some(file) => weir_lab::planned::of_file(file, &args.sets),
        None => weir_lab::planned::built_in(&args.sets),
    }
}

/// The smallest experiment about a model on some hardware: for commands that ask about a
/// deployment and not about a workload. `more` is further lines of the file.
pub(crate) fn minimal(
    model: &str,
    hardware: &str,
    tensor_parallel: Option<u32>,
    arms: &[&str],
    more: &str,
) -> String {
    let is_file = Path::new(model).extension().is_some_and(|end| end == "json");
    let model = if is_file { format!("{{config: {}}}", quoted(model)) } else { quoted(model) };
    let arms: Vec<String> = arms.iter().map(|arm| quoted(arm)).collect();
    let tp = tensor_parallel
        .map_or(String::new(), |ranks| format!("engine: {{tensor_parallel: {ranks}}}\n"));
    format!(
        "name: minimal\nmodels: [{model}]\nhardware: {}\n{tp}{more}arms: [{}]\n\
         workload: {{shared-prefix: {{prefixes: 1, prefix_tokens: 16, prompt_tokens: 16, \
         output_tokens: 1}}}}\nload: {{users: [1], duration: 1s}}\n",
        quoted(hardware),
        arms.join(", "),
    )
}

/// A text as YAML takes it, whatever is in it.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
