//! The folder of a run: made for a plan, or opened again for the same one.

use std::path::Path;

use weir_record::RunFolder;
use weir_spec::Plan;

use crate::error::LabError;
use crate::host;
use crate::planned::check_stores;

/// Makes the folder of a new run. The recorded plan has no secrets.
pub fn create(path: &Path, experiment: &str, plan: &Plan) -> Result<RunFolder, LabError> {
    let (recorded, hash) = (plan.recorded(), plan.plan_hash());
    Ok(RunFolder::create(path, experiment, &recorded, &hash, &host::environment())?)
}

/// Opens the folder of an earlier run. A given plan must be that of the run; its files may lie
/// elsewhere.
pub fn resume(path: &Path, given: Option<Plan>) -> Result<(RunFolder, Plan), LabError> {
    let recorded: Plan = RunFolder::open_read_only(path)?.plan()?;
    let plan = match given {
        Some(given) => Plan { salt: recorded.salt, ..given },
        None => recorded,
    };
    plan.check_inputs()?;
    // Plans of one hash differ at most in what is not recorded.
    plan.check_complete()?;
    check_stores(&plan)?;
    let run = RunFolder::resume(path, &plan.plan_hash())?;
    Ok((run, plan))
}
