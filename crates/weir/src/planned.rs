//! From the command line's experiment to a plan.

use std::path::Path;

use weir_spec::{Experiment, Plan, SpecError};

use crate::cli::ExperimentArgs;

/// An experiment that was read and resolved.
pub(crate) struct Planned {
    /// The file's text, as written.
    pub(crate) text: String,
    /// What will run.
    pub(crate) plan: Plan,
}

/// Reads and resolves an experiment; without a file, the built-in one.
pub(crate) fn planned(args: &ExperimentArgs) -> Result<Planned, SpecError> {
    let Some(file) = &args.file else {
        let text = weir_spec::builtin();
        let experiment = Experiment::parse(text, "built-in", Path::new(""), &args.sets)?;
        return Ok(Planned { plan: Plan::resolve(&experiment)?, text: text.to_owned() });
    };
    let experiment = Experiment::read(file, &args.sets)?;
    let text = std::fs::read_to_string(file).map_err(|source| SpecError::Read {
        what: "experiment file",
        path: file.clone(),
        source,
    })?;
    let in_file = |source| SpecError::InFile { path: file.clone(), source: Box::new(source) };
    Ok(Planned { plan: Plan::resolve(&experiment).map_err(in_file)?, text })
}
