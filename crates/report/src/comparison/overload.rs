//! Open loops that asked for more than was served.

use std::collections::BTreeMap;

use weir_spec::plan::LevelLoad;

use crate::results::Results;

/// Above this share of open requests, latencies speak of the lucky ones only.
const OPEN_SHARE: f64 = 0.2;

/// One warning per deployment and level that was overloaded, with the arms it is about.
pub(super) fn warnings(results: &Results<'_>) -> Vec<String> {
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
    let warning = |((deployment, level), arms): ((usize, usize), BTreeMap<usize, f64>)| {
        let of = &plan.deployments[deployment];
        let each: Vec<String> = arms
            .into_iter()
            .map(|(arm, share)| format!("{} {:.0} %", of.arms[arm].name, 100.0 * share))
            .collect();
        format!(
            "{} on {} at {}: more was asked than served, and part of the measured requests was open \
             at the end ({}). Their latencies are missing: compare throughput, or goodput with an \
             `slo`.",
            of.model.name,
            of.label,
            of.levels[level].name,
            each.join(", ")
        )
    };
    overloaded.into_iter().map(warning).collect()
}
