//! Whether the arms of a run differ in their mechanism alone, by what the software reported of
//! itself.
//!
//! A cell is compared with the control's cell of the same level and repeat, or else with the
//! control's first; the control's own cells with its first. Any other difference makes the cell
//! `failed`: the cause of its gain is then unknown.

mod software;

use weir_model::{FactDifference, RunningFacts};
use weir_spec::likeness::ArmPair;
use weir_spec::plan::{ArmRole, Cell};

use crate::results::{CellResult, Results, reference};

pub use software::{ArmSoftware, SoftwareNote};

/// Marks the cells whose software differs from that of their control.
pub fn judge(results: &mut Results<'_>) {
    if results.plan.target.live().is_none() {
        return;
    }
    let found: Vec<Option<Vec<FactDifference>>> =
        results.cells.iter().map(|result| unlike(results, result)).collect();
    for (result, unlike) in results.cells.iter_mut().zip(found) {
        result.unlike = unlike.unwrap_or_default();
    }
}

fn unlike(results: &Results<'_>, result: &CellResult) -> Option<Vec<FactDifference>> {
    let plan = results.plan;
    let cell = plan.cells.get(result.cell)?;
    let deployment = &plan.deployments[cell.deployment];
    let arm = &deployment.arms[cell.arm];
    let compared = match arm.role {
        ArmRole::Control => cell.arm,
        _ => reference(deployment, cell.arm)?,
    };
    let known = known(results, cell, compared)?;
    let pair = ArmPair { plan, deployment, arm, reference: &deployment.arms[compared] };
    Some(pair.differences(facts(result)?, known))
}

fn known<'r>(results: &'r Results<'_>, cell: &Cell, arm: usize) -> Option<&'r RunningFacts> {
    let of_arm = |other: &&Cell| (other.deployment, other.arm) == (cell.deployment, arm);
    let facts_of = |index: usize| {
        let result = results.cells.iter().find(|result| result.cell == index)?;
        facts(result).filter(|facts| !facts.is_empty() || result.evidence.is_some())
    };
    let cells = || {
        let all = results.plan.cells.iter().enumerate();
        all.filter(|(_, other)| of_arm(other))
    };
    let same = cells().find(|(_, other)| {
        arm != cell.arm && (other.level, other.repeat) == (cell.level, cell.repeat)
    });
    let same = same.and_then(|(index, _)| facts_of(index));
    same.or_else(|| cells().find_map(|(index, _)| facts_of(index)))
}

fn facts(result: &CellResult) -> Option<&RunningFacts> {
    Some(&result.evidence.as_ref()?.facts)
}

/// Cells whose software differs from that of their control: each arm's differences once.
pub(crate) fn unlike_arms<'r>(results: &'r Results<'_>) -> Vec<(&'r Cell, &'r [FactDifference])> {
    let mut found: Vec<(&Cell, &[FactDifference])> = Vec::new();
    for result in results.cells.iter().filter(|result| !result.unlike.is_empty()) {
        let cell = &results.plan.cells[result.cell];
        let is_known = found.iter().any(|(of, differences)| {
            (of.deployment, of.arm) == (cell.deployment, cell.arm)
                && *differences == result.unlike.as_slice()
        });
        if !is_known {
            found.push((cell, &result.unlike));
        }
    }
    found
}
