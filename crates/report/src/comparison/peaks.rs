//! The peak of each arm's output throughput, with its level and the uncertainty of the choice.

use serde::Serialize;

use super::{Context, LevelNote};
use crate::metric::{THROUGHPUT, metric};
use crate::results::{CellResult, reference};
use crate::statistics::{Peak, PeakChange, peak, peak_change};

#[derive(Debug, Clone, Serialize)]
pub struct PeakRow {
    pub arm: String,
    /// Absent where no cell counts.
    pub level: Option<String>,
    /// Output throughput, tok/s; its interval covers the choice of the level.
    pub peak: Option<Peak>,
    /// Other levels that win in at least 5 % of the replicates, with their share.
    pub rivals: Vec<(String, f64)>,
    pub control: Option<String>,
    pub control_level: Option<String>,
    pub change: Option<PeakChange>,
    /// Caveats, for example that the levels differ.
    pub note: String,
}

pub(super) fn peaks(
    context: &Context<'_>,
    deployment: usize,
    levels: &[LevelNote],
) -> Vec<PeakRow> {
    let of = &context.results.plan.deployments[deployment];
    let matrices: Vec<Vec<Vec<Option<f64>>>> = (0..of.arms.len())
        .map(|arm| levels.iter().map(|level| context.values(deployment, arm, level)).collect())
        .collect();
    let seed = |arm: usize| {
        context.results.plan.seed.wrapping_add((deployment as u64) << 32).wrapping_add(arm as u64)
    };
    let peak_of = |arm: usize| {
        let counted: Vec<Vec<f64>> =
            matrices[arm].iter().map(|level| level.iter().copied().flatten().collect()).collect();
        peak(&counted, seed(arm))
    };
    let all: Vec<Option<Peak>> = (0..of.arms.len()).map(peak_of).collect();
    let level_of = |peak: &Peak| levels[peak.level].name.clone();
    let row = |arm: usize| {
        let control = reference(of, arm);
        let control_level = control.and_then(|at| all[at].as_ref()).map(level_of);
        let level = all[arm].as_ref().map(level_of);
        let change = control.and_then(|at| peak_change(&matrices[at], &matrices[arm], seed(arm)));
        let rivals = all[arm].as_ref().map_or_else(Vec::new, |peak| rivals(peak, levels));
        let note = note(context, deployment, arm, level.as_deref(), control_level.as_deref());
        PeakRow {
            arm: of.arms[arm].name.clone(),
            level,
            peak: all[arm].clone(),
            rivals,
            control: control.map(|at| of.arms[at].name.clone()),
            control_level,
            change,
            note,
        }
    };
    (0..of.arms.len()).map(row).collect()
}

impl Context<'_> {
    /// Output throughput per repeat; None for what does not count.
    fn values(&self, deployment: usize, arm: usize, level: &LevelNote) -> Vec<Option<f64>> {
        let group = self.grid.group(deployment, arm, level.index);
        let value =
            |result: &CellResult| metric(THROUGHPUT).and_then(|metric| metric.exact(result));
        group
            .entries
            .iter()
            .map(|entry| entry.result.filter(|result| result.counts()).and_then(value))
            .collect()
    }
}

fn rivals(peak: &Peak, levels: &[LevelNote]) -> Vec<(String, f64)> {
    let close = peak.selection.iter().enumerate();
    close
        .filter(|&(level, &share)| level != peak.level && share >= 0.05)
        .map(|(level, &share)| (levels[level].name.clone(), share))
        .collect()
}

fn note(
    context: &Context<'_>,
    deployment: usize,
    arm: usize,
    level: Option<&str>,
    control_level: Option<&str>,
) -> String {
    let of = &context.results.plan.deployments[deployment];
    let mut parts = Vec::new();
    let left_out: Vec<&str> = of
        .levels
        .iter()
        .enumerate()
        .filter(|&(index, _)| context.grid.group(deployment, arm, index).counted().next().is_none())
        .map(|(_, level)| level.name.as_str())
        .collect();
    if level.is_none() {
        parts.push("no cell counts".to_owned());
    } else if !left_out.is_empty() {
        parts.push(format!("without {}", left_out.join(", ")));
    }
    if let (Some(own), Some(other)) = (level, control_level)
        && own != other
    {
        parts.push(format!("control peaks at {other}: latencies at peak are not comparable"));
    }
    parts.join("; ")
}
