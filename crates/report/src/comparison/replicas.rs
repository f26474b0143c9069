//! What each replica of a live target answered, per arm and level.

use serde::Serialize;
use weir_record::ReplicaFigures;

use super::levels::LevelNote;
use crate::results::{Grid, Group};

/// Sums over the repeats that ran to their end: what a router did is told also where its arm does
/// not count.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReplicaNote {
    pub arm: String,
    pub level: String,
    pub address: String,
    /// Of the measured set.
    pub completed: u64,
    pub share_percent: Option<f64>,
    pub prompt_tokens: u64,
    pub hit_tokens: u64,
    pub hit_percent: Option<f64>,
    /// Mean over the repeats.
    pub mean_waiting: Option<f64>,
}

/// Empty where no cell had several replicas.
pub(super) fn notes(
    grid: &Grid<'_>,
    deployment: usize,
    arms: &[String],
    levels: &[LevelNote],
) -> Vec<ReplicaNote> {
    let mut notes = Vec::new();
    for (index, arm) in arms.iter().enumerate() {
        for level in levels {
            let group = grid.group(deployment, index, level.index);
            notes.extend(of_group(arm, &level.name, group));
        }
    }
    notes
}

/// Replicas in order of their numbers; those of later repeats by their addresses.
fn of_group(arm: &str, level: &str, group: &Group<'_>) -> Vec<ReplicaNote> {
    let mut sums: Vec<(ReplicaFigures, Vec<f64>)> = Vec::new();
    let results = group.entries.iter().filter_map(|entry| entry.result);
    let whole = results.filter(|result| result.answers_stand());
    for figures in whole.flat_map(|result| &result.record.figures.replicas) {
        let place = sums.iter().position(|(of, _)| of.address == figures.address);
        let place = place.unwrap_or_else(|| {
            let address = figures.address.clone();
            sums.push((ReplicaFigures { address, ..ReplicaFigures::default() }, Vec::new()));
            sums.len() - 1
        });
        let (sum, waiting) = &mut sums[place];
        sum.completed += figures.completed;
        sum.prompt_tokens += figures.prompt_tokens;
        sum.hit_tokens += figures.hit_tokens;
        waiting.extend(figures.mean_waiting);
    }
    let all: u64 = sums.iter().map(|(of, _)| of.completed).sum();
    let percent = |part: u64, whole: u64| (whole > 0).then(|| 100.0 * part as f64 / whole as f64);
    let note = |(of, waiting): (ReplicaFigures, Vec<f64>)| ReplicaNote {
        arm: arm.to_owned(),
        level: level.to_owned(),
        share_percent: percent(of.completed, all),
        hit_percent: percent(of.hit_tokens, of.prompt_tokens),
        address: of.address,
        completed: of.completed,
        prompt_tokens: of.prompt_tokens,
        hit_tokens: of.hit_tokens,
        mean_waiting: (!waiting.is_empty())
            .then(|| waiting.iter().sum::<f64>() / waiting.len() as f64),
    };
    sums.into_iter().map(note).collect()
}
