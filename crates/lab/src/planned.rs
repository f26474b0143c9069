//! From an experiment to the plan that a run follows.

use std::path::Path;

use weir_deploy::{DeployError, check_address, limits};
use weir_spec::document::written::NameOr;
use weir_spec::{Experiment, Plan, SpecError};

use crate::error::LabError;

/// An experiment that was read and resolved.
#[derive(Debug)]
pub struct Planned {
    /// The file's text, as written.
    pub text: String,
    pub plan: Plan,
}

/// Reads and resolves an experiment file, with `--set` flags laid over it. Its endpoints are asked
/// what their engines hold.
pub fn of_file(file: &Path, sets: &[String]) -> Result<Planned, LabError> {
    read(file, sets, limit)
}

/// The same of an experiment whose endpoints need not stand: its engine is what is wanted.
pub fn as_written(file: &Path, sets: &[String]) -> Result<Planned, LabError> {
    read(file, sets, |_| Ok(Vec::new()))
}

/// The experiment that needs no file.
pub fn built_in(sets: &[String]) -> Result<Planned, LabError> {
    let text = weir_spec::builtin();
    let experiment = Experiment::parse(text, "built-in", Path::new(""), sets)?;
    Ok(Planned { plan: Plan::resolve(&experiment)?, text: text.to_owned() })
}

fn read(
    file: &Path,
    sets: &[String],
    limit: impl FnOnce(&mut Experiment) -> Result<Vec<String>, LabError>,
) -> Result<Planned, LabError> {
    let mut experiment = Experiment::read(file, sets)?;
    let notes = limit(&mut experiment)?;
    let mut plan = Plan::resolve(&experiment)
        .map_err(|source| SpecError::InFile { path: file.to_owned(), source: Box::new(source) })?;
    check_stores(&plan)
        .map_err(|source| LabError::Store { path: file.to_owned(), source: Box::new(source) })?;
    plan.warnings.extend(notes);
    Ok(Planned { text: experiment.text, plan })
}

/// Refuses stores that cannot be spoken to as they are written: no cell has to start for that.
pub(crate) fn check_stores(plan: &Plan) -> Result<(), DeployError> {
    if plan.target.live().is_some() {
        let arms = plan.deployments.iter().flat_map(|deployment| &deployment.arms);
        arms.into_iter().try_for_each(check_address)?;
    }
    Ok(())
}

/// Lays over an experiment what its endpoints say of their engines, as far as they can be asked;
/// what they do not say comes back as sentences.
fn limit(experiment: &mut Experiment) -> Result<Vec<String>, LabError> {
    let Some(target) = experiment.spec.target.endpoint() else { return Ok(Vec::new()) };
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
