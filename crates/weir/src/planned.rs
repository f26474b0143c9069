//! From the command line's experiment to a plan.

use std::path::Path;

use anyhow::Context;
use weir_deploy::{check_address, limits};
use weir_spec::document::written::NameOr;
use weir_spec::plan::Target;
use weir_spec::{Experiment, Plan, SpecError};

use crate::cli::ExperimentArgs;

/// An experiment that was read and resolved.
pub(crate) struct Planned {
    /// The file's text, as written.
    pub(crate) text: String,
    pub(crate) plan: Plan,
}

/// Reads and resolves an experiment; without a file, the built-in one.
pub(crate) fn planned(args: &ExperimentArgs) -> anyhow::Result<Planned> {
    read(args, limit)
}

/// The same of an experiment whose endpoints need not stand: its engine is what is wanted.
pub(crate) fn as_written(args: &ExperimentArgs) -> anyhow::Result<Planned> {
    read(args, |_| Ok(Vec::new()))
}

fn read(
    args: &ExperimentArgs,
    limit: impl FnOnce(&mut Experiment) -> anyhow::Result<Vec<String>>,
) -> anyhow::Result<Planned> {
    let Some(file) = &args.file else {
        let text = weir_spec::builtin();
        let experiment = Experiment::parse(text, "built-in", Path::new(""), &args.sets)?;
        return Ok(Planned { plan: Plan::resolve(&experiment)?, text: text.to_owned() });
    };
    let mut experiment = Experiment::read(file, &args.sets)?;
    let notes = limit(&mut experiment)?;
    let text = std::fs::read_to_string(file).map_err(|source| SpecError::Read {
        what: "experiment file",
        path: file.clone(),
        source,
    })?;
    let in_file = |source| SpecError::InFile { path: file.clone(), source: Box::new(source) };
    let mut plan = Plan::resolve(&experiment).map_err(in_file)?;
    check_stores(&plan).with_context(|| file.display().to_string())?;
    plan.warnings.extend(notes);
    Ok(Planned { text, plan })
}

/// Refuses stores that cannot be spoken to as they are written: no cell has to start for that.
pub(crate) fn check_stores(plan: &Plan) -> anyhow::Result<()> {
    if plan.target.is_live() {
        let arms = plan.deployments.iter().flat_map(|deployment| &deployment.arms);
        arms.into_iter().try_for_each(check_address)?;
    }
    Ok(())
}

/// Lays over an experiment what its endpoints say of their engines, as far as they can be asked;
/// what they do not say comes back as sentences.
fn limit(experiment: &mut Experiment) -> anyhow::Result<Vec<String>> {
    let Target::Endpoint(target) = &experiment.spec.target else { return Ok(Vec::new()) };
    let model = experiment.spec.models.first().map(|model| match model {
        NameOr::Name(name) => name.clone(),
        NameOr::Map(file) => file.name.clone().unwrap_or_default(),
    });
    // A name that only the file of a model gives is not known yet: the only model there is.
    let model = model.filter(|name| !name.is_empty());
    let (limits, notes) = limits::of_target(target, model.as_deref())?;
    experiment.limits = limits;
    Ok(notes)
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
