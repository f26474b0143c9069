//! The noise floor: the difference between two runs of the same thing.

use std::collections::BTreeMap;

use serde::Serialize;
use weir_spec::plan::ArmRole;

use super::pairs::pairs;
use super::{Context, LevelNote};
use crate::metric::{METRICS, metric};
use crate::statistics::{Difference, change_percent};

/// Fewest pairs of equal arms for a floor.
const LEAST_PAIRS: usize = 2;
/// With fewer pairs the largest difference is called rough.
const ROUGH_BELOW: usize = 5;

#[derive(Debug, Clone, Default, Serialize)]
pub struct NoiseFloor {
    pub arm: Option<String>,
    /// Largest size of a paired difference, percent: metric -> level -> floor. A level with one
    /// pair has the largest difference over all levels.
    pub percent: BTreeMap<&'static str, BTreeMap<String, f64>>,
    /// Fewest pairs behind a level's floor.
    pub pairs: usize,
    /// Equal arms then give equal figures: there is no noise.
    pub simulated: bool,
    /// Largest over all levels, in the deciding metric.
    pub deciding_percent: Option<f64>,
    pub note: String,
}

impl NoiseFloor {
    /// Percent; zero where unknown.
    fn percent(&self, level: &str, metric: &str) -> f64 {
        let seen = self.percent.get(metric).and_then(|levels| levels.get(level));
        seen.copied().unwrap_or(0.0)
    }

    /// One pair does not show how much equal arms differ.
    fn is_known(&self) -> bool {
        self.simulated || self.pairs >= LEAST_PAIRS
    }

    /// Whether a change is an effect: above `least` percent and the floor, with an interval that
    /// excludes zero. Without an interval, the floor must be known.
    pub fn tells(&self, change: &Difference, level: &str, metric: &str, least: f64) -> bool {
        let floor = self.percent(level, metric).max(least);
        (change.interval.is_some() || self.is_known()) && change.is_distinguishable(floor)
    }

    /// Whether a change is large enough for an effect, but not distinguishable from noise: its
    /// interval includes zero, or it has none and the floor is unknown.
    pub(super) fn is_unproven(
        &self,
        change: &Difference,
        level: &str,
        metric: &str,
        least: f64,
    ) -> bool {
        let floor = self.percent(level, metric).max(least);
        !self.tells(change, level, metric, least) && change.percent.abs() > floor
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
        let simulated = context.simulated;
        return NoiseFloor { note: note.to_owned(), simulated, ..NoiseFloor::default() };
    };
    let mut percent: BTreeMap<&'static str, BTreeMap<String, f64>> = BTreeMap::new();
    let mut found = Pairs::default();
    for metric in METRICS.iter().filter(|metric| metric.compared) {
        let mut levels_of = BTreeMap::new();
        let mut of = Pairs::default();
        for level in levels {
            let base = context.grid.group(deployment, control, level.index);
            let repeated = context.grid.group(deployment, again, level.index);
            let most = context.results.plan.client.max_error;
            let differences: Vec<f64> = pairs(metric, most, base, repeated)
                .iter()
                .filter_map(|&(base, repeated)| Some(change_percent(base, repeated)?.abs()))
                .collect();
            if let Some(largest) = differences.iter().copied().reduce(f64::max) {
                of.add(differences.len());
                levels_of.insert(level.name.clone(), (largest, differences.len()));
            }
        }
        // One pair does not show the noise; pairs of other levels help.
        let over_all = levels_of.values().map(|(largest, _)| *largest).fold(0.0, f64::max);
        let floor = |(largest, pairs): (f64, usize)| {
            if pairs < LEAST_PAIRS { over_all } else { largest }
        };
        let floors: BTreeMap<String, f64> =
            levels_of.into_iter().map(|(level, seen)| (level, floor(seen))).collect();
        if !floors.is_empty() {
            percent.insert(metric.key, floors);
        }
        if metric.key == deciding {
            found = of;
        }
    }
    let deciding_percent =
        percent.get(deciding).and_then(|levels| levels.values().copied().reduce(f64::max));
    let title = metric(deciding).map_or(deciding, |metric| metric.title);
    let note = note(context.simulated, deciding_percent, found, title);
    NoiseFloor {
        arm: Some(arms[again].name.clone()),
        percent,
        pairs: found.of_a_floor(),
        simulated: context.simulated,
        deciding_percent,
        note,
    }
}

/// Pairs of the A/A arm and the control in the deciding metric.
#[derive(Debug, Clone, Copy, Default)]
struct Pairs {
    all: usize,
    fewest: Option<usize>,
}

impl Pairs {
    fn add(&mut self, of_level: usize) {
        self.all += of_level;
        self.fewest = Some(self.fewest.map_or(of_level, |fewest| fewest.min(of_level)));
    }

    /// Fewest pairs behind a level's floor.
    fn of_a_floor(self) -> usize {
        match self.fewest {
            Some(fewest) if fewest >= LEAST_PAIRS => fewest,
            _ => self.all,
        }
    }
}

fn note(simulated: bool, deciding: Option<f64>, pairs: Pairs, title: &str) -> String {
    match (simulated, deciding) {
        (_, None) => "the A/A arm has no cells that count: the noise floor is unknown".to_owned(),
        (true, Some(0.0)) => "identical in simulation: the A/A arm repeats the control bit by bit \
                              and shows no noise"
            .to_owned(),
        (true, Some(percent)) => format!(
            "the A/A arm differs from the control by up to {percent:.3} % in simulation, where it \
             must be identical: a defect, please report it"
        ),
        (false, Some(percent)) if pairs.all < LEAST_PAIRS => format!(
            "unknown: one A/A pair ({title} differs by {percent:.1} %) does not show how much \
             equal arms differ; raise `repeats`"
        ),
        (false, Some(percent)) => {
            let rough = if pairs.of_a_floor() < ROUGH_BELOW { "; few pairs, so rough" } else { "" };
            format!(
                "{title} of the A/A arm differs from the control's by up to {percent:.1} % \
                 ({} pairs{rough}); smaller differences between arms are not read as effects",
                pairs.all
            )
        }
    }
}
