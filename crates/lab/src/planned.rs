use std::path::Path;

use weir_deploy::{DeployError, check_address, limits};
use weir_spec::document::written::NameOr;
use weir_spec::{Experiment, Plan, SpecError};

use crate::error::LabError;

#[derive(Debug)]
pub struct Planned {
    /// As written.
    pub text: String,
    pub plan: Plan,
}

/// `sets` are `--set` flags. Requests the engines' limits from the endpoints.
pub fn of_file(file: &Path, sets: &[String]) -> Result<Planned, LabError> {
    read(file, sets, limit)
}

/// The same without endpoints: the engine is the planned one.
pub fn as_written(file: &Path, sets: &[String]) -> Result<Planned, LabError> {
    read(file, sets, |_| Ok(Vec::new()))
}

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

/// Refuses invalid store addresses before a cell starts.
pub(crate) fn check_stores(plan: &Plan) -> Result<(), DeployError> {
    if plan.target.live().is_some() {
        let arms = plan.deployments.iter().flat_map(|deployment| &deployment.arms);
        arms.into_iter().try_for_each(check_address)?;
    }
    Ok(())
}

/// Limits an experiment by what its endpoints report. Returns sentences on what they do not.
fn limit(experiment: &mut Experiment) -> Result<Vec<String>, LabError> {
    let Some(target) = experiment.spec.target.endpoint() else { return Ok(Vec::new()) };
    let model = experiment.spec.models.first().map(|model| match model {
        NameOr::Name(name) => name.clone(),
        NameOr::Map(file) => file.name.clone().unwrap_or_default(),
    });
    // A name from a model's file is not known yet: there is one model then.
    let model = model.filter(|name| !name.is_empty());
    let (limits, notes) = limits::of_target(target, model.as_deref())?;
    experiment.limits = limits;
    Ok(notes)
}
