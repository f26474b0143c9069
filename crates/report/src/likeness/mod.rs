//! Whether the arms of a run differ in their mechanism alone, judged over cells: what the software
//! of a cell said of itself against what that of its control said.
//!
//! A cell is compared with the control's cell of the same level and repeat, or else with the
//! control's first; the control's own cells with its first. What differs besides the mechanism
//! makes the cell `failed`: whatever it gained, nobody can say by what.

mod software;
pub(crate) mod words;

use weir_model::{ComparedWith, Differing, FactDifference, RunningFacts};
use weir_spec::likeness::ArmPair;
use weir_spec::plan::{ArmRole, Cell};

use crate::comparison::reference;
use crate::results::{CellResult, Results};

pub use software::{ArmSoftware, SoftwareNote};
pub use words::not_comparable;

/// What a cell differs in from the one that it is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlike {
    pub differences: Vec<FactDifference>,
    /// Why it does not count.
    pub explanation: String,
}

impl Unlike {
    fn of(differences: Vec<FactDifference>) -> Option<Self> {
        if differences.is_empty() {
            return None;
        }
        let explanation = explanation(&differences);
        Some(Self { differences, explanation })
    }
}

pub fn explanation(differences: &[FactDifference]) -> String {
    let all: Vec<String> = differences.iter().map(words::difference).collect();
    let is_planned_otherwise = differences.iter().any(|seen| seen.than == ComparedWith::Plan);
    let begins = if is_planned_otherwise {
        "What ran is not what the plan says"
    } else {
        "What ran differs in more than the mechanism"
    };
    format!("{begins}: {}.", all.join("; "))
}

/// What to do about differences.
pub fn remedy(differences: &[FactDifference]) -> &'static str {
    let is = |than: fn(&ComparedWith) -> bool| differences.iter().any(|seen| than(&seen.than));
    if is(|than| *than == ComparedWith::Earlier) {
        return "keep the deployment as it is while a cell is measured";
    }
    if is(|than| matches!(than, ComparedWith::Part(_))) {
        return "start all replicas of an arm alike";
    }
    if is(|than| *than == ComparedWith::Plan) {
        return "change the deployment, or write into the file what runs";
    }
    let is_written = |seen: &FactDifference| {
        !seen.arguments.is_empty() || !matches!(seen.differs, Differing::Fact(_))
    };
    if differences.iter().any(is_written) {
        "give all arms these vllm_args and env (target.local), or none"
    } else {
        "start both alike but for the mechanism"
    }
}

/// Marks the cells whose software is not like that of what they are compared with.
pub fn judge(results: &mut Results<'_>) {
    if !results.plan.target.is_live() {
        return;
    }
    let found: Vec<Option<Unlike>> =
        results.cells.iter().map(|result| unlike(results, result)).collect();
    for (result, unlike) in results.cells.iter_mut().zip(found) {
        result.unlike = unlike;
    }
}

fn unlike(results: &Results<'_>, result: &CellResult) -> Option<Unlike> {
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
    Unlike::of(pair.differences(facts(result)?, known))
}

/// What the cell that a cell is compared with said of itself.
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

/// One warning per arm, for cells whose software is not that of what they are compared with.
pub(crate) fn warnings(results: &Results<'_>) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    for result in &results.cells {
        let Some(unlike) = &result.unlike else { continue };
        let cell = &results.plan.cells[result.cell];
        let of = &results.plan.deployments[cell.deployment];
        let warning = format!(
            "{} of {} on {}: {}",
            of.arms[cell.arm].name,
            of.model.name,
            of.label,
            not_comparable(&unlike.differences)
        );
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    warnings
}
