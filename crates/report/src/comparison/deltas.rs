//! Arms against their controls at equal level, paired by repeat.

use serde::Serialize;
use weir_model::quantity::Tolerance;
use weir_spec::plan::ArmRole;

use super::noise::NoiseFloor;
use super::pairs::pairs;
use super::{Context, LevelNote};
use crate::metric::{METRICS, Metric};
use crate::results::{Group, reference};
use crate::statistics::{Difference, mean, paired_change};

#[derive(Debug, Clone, Serialize)]
pub struct Delta {
    pub arm: String,
    pub control: String,
    pub metric: &'static str,
    pub levels: Vec<LevelDelta>,
}

#[derive(Debug, Clone, Serialize)]
pub struct LevelDelta {
    pub level: String,
    /// The control's mean over the pairs.
    pub control_mean: Option<f64>,
    /// The arm's mean over the pairs.
    pub arm_mean: Option<f64>,
    /// Absent where no pair of repeats counts.
    pub change: Option<Difference>,
    /// The arms' own means are over other repeats than the pairs.
    pub is_partial: bool,
    /// Above the noise floor, with an interval that excludes zero.
    pub distinguishable: bool,
    /// Why there is no change, or which repeats were left out.
    pub note: String,
}

/// Compares each arm with its first control, and routing arms also with the common control.
pub(super) fn deltas(
    context: &Context<'_>,
    deployment: usize,
    levels: &[LevelNote],
    noise: &NoiseFloor,
) -> Vec<Delta> {
    let of = &context.results.plan.deployments[deployment];
    let most = context.results.plan.client.max_error;
    let main_control = of.arms.iter().position(|arm| arm.role == ArmRole::Control);
    let mut all = Vec::new();
    for arm in 0..of.arms.len() {
        let Some(first) = reference(of, arm) else {
            continue;
        };
        let second = main_control.filter(|&control| control != first && control != arm);
        for control in [Some(first), second].into_iter().flatten() {
            for metric in METRICS.iter().filter(|metric| metric.compared) {
                let at = |level: &LevelNote| {
                    let control = context.grid.group(deployment, control, level.index);
                    let arm = context.grid.group(deployment, arm, level.index);
                    level_delta(metric, most, (control, arm), &level.name, noise)
                };
                let levels: Vec<LevelDelta> = levels.iter().map(at).collect();
                // A metric that no cell has (goodput without objectives) is left out.
                if levels.iter().any(|delta| delta.change.is_some()) {
                    let (arm, control) = (of.arms[arm].name.clone(), of.arms[control].name.clone());
                    all.push(Delta { arm, control, metric: metric.key, levels });
                }
            }
        }
    }
    all
}

fn has_value(metric: &Metric, group: &Group<'_>) -> bool {
    group.counted().any(|(_, result)| (metric.of)(result).is_some())
}

/// Repeats in a group's own mean.
fn in_mean(metric: &Metric, group: &Group<'_>) -> usize {
    group.counted().filter(|(_, result)| metric.exact(result).is_some()).count()
}

fn level_delta(
    metric: &Metric,
    most: Option<Tolerance>,
    (control, arm): (&Group<'_>, &Group<'_>),
    level: &str,
    noise: &NoiseFloor,
) -> LevelDelta {
    let pairs = pairs(metric, most, control, arm);
    let change = paired_change(&pairs);
    let side = |pick: fn(&(f64, f64)) -> f64| mean(&pairs.iter().map(pick).collect::<Vec<_>>());
    let note = if !(control.is_whole() && arm.is_whole()) {
        let [base, seen] = [control, arm].map(|of| of.group_verdicts().words());
        let left = arm.entries.len().max(control.entries.len()) - pairs.len();
        format!("{left} repeats left out: arm {seen}; control {base}")
    } else if pairs.is_empty() && has_value(metric, control) && has_value(metric, arm) {
        "the client's error is too large to compare".to_owned()
    } else if change.is_none() {
        "no value".to_owned()
    } else {
        String::new()
    };
    LevelDelta {
        level: level.to_owned(),
        control_mean: side(|pair| pair.0),
        arm_mean: side(|pair| pair.1),
        is_partial: [control, arm].iter().any(|group| in_mean(metric, group) != pairs.len()),
        distinguishable: change
            .as_ref()
            .is_some_and(|change| noise.tells(change, level, metric.key, 0.0)),
        change,
        note,
    }
}
