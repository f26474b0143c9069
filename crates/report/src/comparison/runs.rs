//! Two runs compared: the same cells' figures, with the change from the first to the second.

use std::collections::BTreeMap;

use serde::Serialize;

use super::currency;
use crate::metric::{COST, METRICS, Metric, THROUGHPUT};
use crate::results::{Grid, GroupVerdicts, Results, ResultsError};
use crate::statistics::{Difference, change_percent, mean, paired_change};

/// One metric of one group (arm at a level) between two runs.
#[derive(Debug, Clone, Serialize)]
pub struct RunDelta {
    pub model: String,
    pub hardware: String,
    pub arm: String,
    pub level: String,
    pub metric: &'static str,
    /// Mean over the paired repeats, else over all that count; absent where nothing counts.
    pub first: Option<f64>,
    /// Likewise of the second run.
    pub second: Option<f64>,
    /// Repeats are paired where their workload seeds are equal; without pairs there is no interval.
    pub change: Option<Difference>,
    /// Both verdicts where they differ, and whether repeats could not be paired.
    pub note: String,
}

impl RunDelta {
    pub(crate) fn is_small(&self, least: f64) -> bool {
        let percent = self.change.as_ref().map(|change| change.percent.abs());
        percent.is_some_and(|percent| percent < least) && self.note.is_empty()
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct RunComparison {
    pub first: String,
    pub second: String,
    /// Empty without prices, or where the runs have different ones.
    pub currency: String,
    pub same_plan: bool,
    /// Planned per cell, first and second run.
    pub repeats: [u32; 2],
    /// Master seeds of the plans, first and second run.
    pub seeds: [u64; 2],
    /// Paths of groups that the second run lacks.
    pub only_in_first: Vec<String>,
    pub only_in_second: Vec<String>,
    /// In the first run's order.
    pub deltas: Vec<RunDelta>,
}

/// Per group (model/hardware/arm/level): per repeat its seed and values that count.
struct GroupValues {
    verdict: GroupVerdicts,
    by_repeat: BTreeMap<u32, (u64, BTreeMap<&'static str, f64>)>,
}

type Key = (String, String, String, String);

pub fn compare_runs(
    first: &Results<'_>,
    second: &Results<'_>,
) -> Result<RunComparison, ResultsError> {
    let (old, new) = (groups(first)?, groups(second)?);
    let path = |key: &Key| format!("{}/{}/{}/{}", key.0, key.1, key.2, key.3);
    let missing = |from: &[(Key, GroupValues)], other: &[(Key, GroupValues)]| {
        let has = |key: &Key| other.iter().any(|(seen, _)| seen == key);
        from.iter().map(|(key, _)| key).filter(|key| !has(key)).map(path).collect()
    };
    let mut deltas = Vec::new();
    for (key, base) in &old {
        let Some((_, changed)) = new.iter().find(|(seen, _)| seen == key) else {
            continue;
        };
        let same_money = currency(&first.plan.prices) == currency(&second.plan.prices);
        let compared = METRICS.iter().filter(|metric| metric.compared);
        let compared = compared.filter(|metric| metric.key != COST || same_money);
        let before = deltas.len();
        deltas.extend(compared.filter_map(|metric| delta(key, metric, base, changed)));
        if deltas.len() == before && base.verdict != changed.verdict {
            deltas.push(without_figures(key, base, changed));
        }
    }
    Ok(RunComparison {
        first: first.provenance.run.clone(),
        second: second.provenance.run.clone(),
        currency: shared_currency(first, second),
        same_plan: first.provenance.plan_hash == second.provenance.plan_hash,
        repeats: [first, second].map(|results| results.plan.repeats),
        seeds: [first, second].map(|results| results.plan.seed),
        only_in_first: missing(&old, &new),
        only_in_second: missing(&new, &old),
        deltas,
    })
}

fn shared_currency(first: &Results<'_>, second: &Results<'_>) -> String {
    let [first, second] = [first, second].map(|results| currency(&results.plan.prices));
    if first == second { first } else { String::new() }
}

/// For a group that counts in neither run, and whose verdict changed.
fn without_figures(key: &Key, first: &GroupValues, second: &GroupValues) -> RunDelta {
    let (model, hardware, arm, level) = key.clone();
    RunDelta {
        model,
        hardware,
        arm,
        level,
        metric: THROUGHPUT,
        first: None,
        second: None,
        change: None,
        note: changed(first, second),
    }
}

/// "void (no-operation) -> effective".
fn changed(first: &GroupValues, second: &GroupValues) -> String {
    let [first, second] = [first, second].map(|of| of.verdict.words());
    format!("{first} -> {second}")
}

fn groups(results: &Results<'_>) -> Result<Vec<(Key, GroupValues)>, ResultsError> {
    results.check()?;
    let grid = Grid::of(results);
    let mut all = Vec::new();
    for (at, deployment) in results.plan.deployments.iter().enumerate() {
        for (arm_at, arm) in deployment.arms.iter().enumerate() {
            for (level_at, level) in deployment.levels.iter().enumerate() {
                let group = grid.group(at, arm_at, level_at);
                if group.entries.is_empty() {
                    continue;
                }
                let values = |entry: &crate::results::Entry<'_>| {
                    let result = entry.result.filter(|result| result.counts())?;
                    let values = METRICS
                        .iter()
                        .filter_map(|metric| Some((metric.key, metric.exact(result)?)))
                        .collect();
                    Some((entry.cell.repeat, (entry.cell.seed, values)))
                };
                let by_repeat = group.entries.iter().filter_map(values).collect();
                let key = (
                    deployment.model.name.clone(),
                    deployment.label.clone(),
                    arm.name.clone(),
                    level.name.clone(),
                );
                all.push((key, GroupValues { verdict: group.group_verdicts(), by_repeat }));
            }
        }
    }
    Ok(all)
}

fn delta(
    key: &Key,
    metric: &Metric,
    first: &GroupValues,
    second: &GroupValues,
) -> Option<RunDelta> {
    let paired: Vec<(f64, f64)> = first
        .by_repeat
        .iter()
        .filter_map(|(repeat, (seed, values))| {
            let (other_seed, others) = second.by_repeat.get(repeat)?;
            (seed == other_seed).then_some(())?;
            Some((*values.get(metric.key)?, *others.get(metric.key)?))
        })
        .collect();
    let all = |of: &GroupValues| -> Option<f64> {
        let values = of.by_repeat.values().filter_map(|(_, values)| values.get(metric.key));
        mean(&values.copied().collect::<Vec<_>>())
    };
    let side = |pick: fn(&(f64, f64)) -> f64| mean(&paired.iter().map(pick).collect::<Vec<_>>());
    let (old, new) =
        (side(|pair| pair.0).or_else(|| all(first)), side(|pair| pair.1).or_else(|| all(second)));
    if old.is_none() && new.is_none() {
        return None;
    }
    let mut notes = Vec::new();
    if first.verdict != second.verdict {
        notes.push(changed(first, second));
    }
    let change = if paired.is_empty() {
        if old.is_some() && new.is_some() {
            notes.push("not paired: the workload seeds differ".to_owned());
        }
        let percent = old.zip(new).and_then(|(old, new)| change_percent(old, new));
        percent.map(|percent| Difference { percent, interval: None, pairs: 0 })
    } else {
        paired_change(&paired)
    };
    let (model, hardware, arm, level) = key.clone();
    let note = notes.join("; ");
    Some(RunDelta {
        model,
        hardware,
        arm,
        level,
        metric: metric.key,
        first: old,
        second: new,
        change,
        note,
    })
}
