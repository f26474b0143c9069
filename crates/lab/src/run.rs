use std::time::Duration;

use weir_deploy::Presence;
use weir_deploy::leftovers::{Whose, clear, run_id};
use weir_deploy::{front, kubernetes, local};
use weir_field::Field;
use weir_record::RunFolder;
use weir_spec::plan::Plan;

use crate::analysis::Analysis;
use crate::error::LabError;
use crate::outcome::Sweep;
use crate::progress::{Progress, Stop};
use crate::sweep::run_missing;

/// Until processes of a dead run end.
const CLEARING: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Ended<'a> {
    pub sweep: Sweep,
    pub analysis: Analysis<'a>,
}

/// Runs the missing cells, `jobs` simulated ones at once and the load of live ones by the agents of
/// `field`, if any, and writes analysis and report of all.
pub fn run<'a>(
    plan: &'a Plan,
    folder: &RunFolder,
    jobs: usize,
    field: Option<&Field>,
    progress: &dyn Progress,
    stop: &Stop,
) -> Result<Ended<'a>, LabError> {
    if plan.target.local().is_some() || front::is_planned(plan) {
        prepare(plan, progress)?;
    }
    kubernetes::preflight(plan)?;
    // A live cell marks itself for other runs; simulated cells take all CPUs.
    let id = run_id(folder.path());
    let presence = plan.target.live().is_none().then(|| Presence::show(&id)).transpose()?;
    let sweep = run_missing(folder, plan, jobs, field, progress, stop)?;
    drop(presence);
    let analysis = Analysis::of(folder, plan)?;
    analysis.write(folder)?;
    Ok(Ended { sweep, analysis })
}

/// Finds the installed software, and clears what earlier runs left on this machine.
fn prepare(plan: &Plan, progress: &dyn Progress) -> Result<(), LabError> {
    for what in clear(&Whose::DeadOwners, CLEARING)? {
        progress.cleared(&what);
    }
    front::preflight(plan)?;
    if let Some(stack) = local::preflight(plan)? {
        progress.stack_found(&stack);
    }
    Ok(())
}
