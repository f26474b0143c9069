//! Warnings before a run's figures are read, a sentence each.

use std::collections::BTreeMap;

use weir_model::{FactDifference, FailureReason};
use weir_spec::plan::{Cell, Deployment, LevelLoad};

use super::{DeploymentComparison, words};
use crate::figures::compute_share;
use crate::likeness;
use crate::oracle::{OutputNote, OutputOutcome};
use crate::results::{CellResult, Results, without_result};
use crate::words::difference::not_comparable;
use crate::words::failure;

pub(super) fn warnings(results: &Results<'_>, deployments: &[DeploymentComparison]) -> Vec<String> {
    let mut warnings = above_hardware(results);
    warnings.extend(overloaded(results));
    warnings.extend(without_results(results));
    warnings.extend(unlike_arms(results));
    warnings.extend(short_windows(results));
    warnings.extend(deployments.iter().flat_map(other_answers));
    warnings
}

fn above_hardware(results: &Results<'_>) -> Vec<String> {
    let plan = results.plan;
    // By plan order: deployment, arm, level -> cells and largest share.
    let mut above: BTreeMap<(usize, usize, usize), (usize, f64)> = BTreeMap::new();
    for result in results.cells.iter().filter(|result| result.counts()) {
        let cell = &plan.cells[result.cell];
        let share = compute_share(&result.record.figures, &plan.deployments[cell.deployment]);
        if let Some(share) = share.filter(|&share| share > 1.0) {
            let seen = above.entry((cell.deployment, cell.arm, cell.level)).or_default();
            *seen = (seen.0 + 1, seen.1.max(share));
        }
    }
    let warning = |(group, (cells, share)): ((usize, usize, usize), (usize, f64))| {
        let (deployment, arm, level) = group;
        let of = &plan.deployments[deployment];
        let times = if cells == 1 { "1 cell".to_owned() } else { format!("{cells} cells") };
        format!(
            "{} on {}, {} at {} ({times}): figures imply {share:.1} times the hardware's peak \
             arithmetic; cache hits were not seen or throughput is inflated",
            of.model.name, of.label, of.arms[arm].name, of.levels[level].name
        )
    };
    above.into_iter().map(warning).collect()
}

/// Above this share of open requests, latencies are biased towards fast ones.
const OPEN_SHARE: f64 = 0.2;

/// One warning per overloaded level of a deployment, with its arms.
fn overloaded(results: &Results<'_>) -> Vec<String> {
    let plan = results.plan;
    let mut overloaded: BTreeMap<(usize, usize), BTreeMap<usize, f64>> = BTreeMap::new();
    for result in results.cells.iter().filter(|result| result.counts()) {
        let cell = &plan.cells[result.cell];
        let load = &plan.deployments[cell.deployment].levels[cell.level].load;
        let figures = &result.record.figures;
        let share = figures.open as f64 / figures.measured.max(1) as f64;
        if !matches!(load, LevelLoad::Users(_)) && share > OPEN_SHARE {
            let arms = overloaded.entry((cell.deployment, cell.level)).or_default();
            let worst = arms.entry(cell.arm).or_default();
            *worst = worst.max(share);
        }
    }
    let instead = if plan.slo.binds() { "goodput" } else { "throughput, or goodput with an `slo`" };
    let warning = |((deployment, level), arms): ((usize, usize), BTreeMap<usize, f64>)| {
        let of = &plan.deployments[deployment];
        let each: Vec<String> = arms
            .into_iter()
            .map(|(arm, share)| format!("{} {:.0} %", of.arms[arm].name, 100.0 * share))
            .collect();
        format!(
            "{} on {} at {}: more was asked than served, and part of the measured requests was open \
             at the end ({}). Their latencies are missing: compare {instead}.",
            of.model.name,
            of.label,
            of.levels[level].name,
            each.join(", ")
        )
    };
    overloaded.into_iter().map(warning).collect()
}

/// One warning per cause, arm and level, for cells whose requests left them without a result.
fn without_results(results: &Results<'_>) -> Vec<String> {
    let mut found: Vec<((usize, usize, usize), FailureReason)> = Vec::new();
    for result in results.in_order() {
        let record = &result.record;
        let Some(why) = without_result(&record.status, &record.figures) else { continue };
        let cell = &results.plan.cells[result.cell];
        let of = ((cell.deployment, cell.arm, cell.level), why);
        if !found.contains(&of) {
            found.push(of);
        }
    }
    let warning = |((deployment, arm, level), why): ((usize, usize, usize), FailureReason)| {
        let of = &results.plan.deployments[deployment];
        let (arm, level) = (&of.arms[arm].name, &of.levels[level].name);
        format!("{arm} of {} on {} at {level}: {}", of.model.name, of.label, failure(&why))
    };
    found.into_iter().map(warning).collect()
}

/// One warning per arm whose software differs from that of its control.
fn unlike_arms(results: &Results<'_>) -> Vec<String> {
    let warning = |(cell, differences): (&Cell, &[FactDifference])| {
        let of = &results.plan.deployments[cell.deployment];
        let (arm, why) = (&of.arms[cell.arm].name, not_comparable(differences));
        format!("{arm} of {} on {}: {why}", of.model.name, of.label)
    };
    likeness::unlike_arms(results).into_iter().map(warning).collect()
}

/// One sentence per deployment whose measured windows are short against their requests.
pub fn short_windows(results: &Results<'_>) -> Vec<String> {
    let sentence = |(index, of): (usize, &Deployment)| {
        let here = |result: &&CellResult| results.plan.cells[result.cell].deployment == index;
        let windows = results.in_order().into_iter().filter(here).filter_map(|result| {
            let level = &of.levels[results.plan.cells[result.cell].level];
            Some((result.evidence.as_ref()?.short_window?, level))
        });
        let words = words::short_window(windows)?;
        Some(match results.plan.deployments.len() {
            1 => format!("{words}."),
            _ => format!("{} on {}: {words}.", of.model.name, of.label),
        })
    };
    results.plan.deployments.iter().enumerate().filter_map(sentence).collect()
}

fn other_answers(of: &DeploymentComparison) -> Vec<String> {
    let warning = |note: &OutputNote| {
        let what = match note.outcome {
            OutputOutcome::Corrupt => {
                "the arm is corrupt there, and its figures do not count".to_owned()
            }
            OutputOutcome::AboveFloor => note.note?.words(),
            _ => return None,
        };
        let (model, hardware, arm, level) = (&of.model, &of.hardware, &note.arm, &note.level);
        let words = note.words();
        Some(format!(
            "{model} on {hardware}, {arm} at {level}: answers differ from the control's in \
             {words}: {what}"
        ))
    };
    of.outputs.iter().filter_map(warning).collect()
}
