//! A run from its plan to its report.

use std::time::Duration;

use weir_deploy::Presence;
use weir_deploy::leftovers::{Whose, clear, run_id};
use weir_deploy::local::preflight;
use weir_record::RunFolder;
use weir_spec::plan::Plan;

use crate::analysis::Analysis;
use crate::error::LabError;
use crate::outcome::Sweep;
use crate::progress::{Progress, Stop};
use crate::sweep::run_missing;

/// Time that processes of a dead run have to end.
const CLEARING: Duration = Duration::from_secs(20);

/// What a run left in its folder, and what is said of it.
#[derive(Debug)]
pub struct Ended<'a> {
    pub sweep: Sweep,
    pub analysis: Analysis<'a>,
}

/// Runs what is missing of a plan in its folder, `jobs` simulated cells at once, and writes the
/// analysis and the report of all that is there.
pub fn run<'a>(
    plan: &'a Plan,
    folder: &RunFolder,
    jobs: usize,
    progress: &dyn Progress,
    stop: &Stop,
) -> Result<Ended<'a>, LabError> {
    if plan.target.local().is_some() {
        prepare(plan, progress)?;
    }
    // Of a live cell others are told while it lasts; what is simulated takes all CPUs.
    let id = run_id(folder.path());
    let presence = plan.target.live().is_none().then(|| Presence::show(&id)).transpose()?;
    let sweep = run_missing(folder, plan, jobs, progress, stop)?;
    drop(presence);
    let analysis = Analysis::of(folder, plan)?;
    analysis.write(folder)?;
    Ok(Ended { sweep, analysis })
}

/// Looks what is installed, and clears what runs before left on this machine.
fn prepare(plan: &Plan, progress: &dyn Progress) -> Result<(), LabError> {
    for what in clear(&Whose::DeadOwners, CLEARING)? {
        progress.cleared(&what);
    }
    if let Some(stack) = preflight(plan)? {
        progress.stack_found(&stack);
    }
    Ok(())
}
