//! The noise floor: what two runs of the same thing differ by.

use std::collections::BTreeMap;

use serde::Serialize;
use weir_spec::plan::ArmRole;

use super::deltas::pairs;
use super::{Context, LevelNote};
use crate::metric::{METRICS, metric};

/// The A/A arm's differences from the control, per metric and level.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NoiseFloor {
    /// The A/A arm, where the plan has one.
    pub arm: Option<String>,
    /// Largest size of a paired difference, percent: metric -> level -> floor.
    pub percent: BTreeMap<&'static str, BTreeMap<String, f64>>,
    /// Largest of them over all levels, in the metric that decides.
    pub deciding_percent: Option<f64>,
    /// What it means, in one sentence.
    pub note: String,
}

impl NoiseFloor {
    /// The floor of a metric at a level; zero where it is unknown.
    pub fn percent(&self, level: &str, metric: &str) -> f64 {
        let seen = self.percent.get(metric).and_then(|levels| levels.get(level));
        seen.copied().unwrap_or(0.0)
    }
}

pub(super) fn noise_floor(
    context: &Context<'_>,
    deployment: usize,
    levels: &[LevelNote],
    deciding: &str,
) -> NoiseFloor {
    let arms = &context.results.plan.deployments[deployment].arms;
    let find = |role| arms.iter().position(|arm| arm.role == role);
    let (Some(control), Some(again)) = (find(ArmRole::Control), find(ArmRole::ControlAgain)) else {
        let note = if context.simulated {
            "no A/A arm; none is needed in simulation, where equal arms give equal figures"
        } else {
            "no A/A arm: the noise floor is unknown; add `no-offload-aa` to the arms"
        };
        return NoiseFloor { note: note.to_owned(), ..NoiseFloor::default() };
    };
    let mut percent: BTreeMap<&'static str, BTreeMap<String, f64>> = BTreeMap::new();
    for metric in METRICS.iter().filter(|metric| metric.compared) {
        for level in levels {
            let base = context.grid.group(deployment, control, level.index);
            let repeated = context.grid.group(deployment, again, level.index);
            let largest = pairs(metric, base, repeated)
                .iter()
                .filter(|(base, _)| *base > 0.0)
                .map(|(base, repeated)| (100.0 * (repeated / base - 1.0)).abs())
                .reduce(f64::max);
            if let Some(largest) = largest {
                percent.entry(metric.key).or_default().insert(level.name.clone(), largest);
            }
        }
    }
    let deciding_percent =
        percent.get(deciding).and_then(|levels| levels.values().copied().reduce(f64::max));
    let title = metric(deciding).map_or(deciding, |metric| metric.title);
    let note = note(context.simulated, deciding_percent, title);
    NoiseFloor { arm: Some(arms[again].name.clone()), percent, deciding_percent, note }
}

fn note(simulated: bool, deciding: Option<f64>, title: &str) -> String {
    match (simulated, deciding) {
        (_, None) => "the A/A arm has no cells that count: the noise floor is unknown".to_owned(),
        (true, Some(0.0)) => "identical in simulation: the A/A arm repeats the control bit by bit \
                              and shows no noise"
            .to_owned(),
        (true, Some(percent)) => format!(
            "the A/A arm differs from the control by up to {percent:.3} % in simulation, where it \
             must be identical: a defect, please report it"
        ),
        (false, Some(percent)) => format!(
            "{title} of the A/A arm differs from the control's by up to {percent:.1} %; smaller \
             differences between arms are not read as effects"
        ),
    }
}
