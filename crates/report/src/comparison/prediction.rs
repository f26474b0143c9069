//! A simulated run against a live one of the same experiment: the predicted and the measured.
//!
//! Hit tokens per tier follow from the requests and from the rules of engine and tiers, not from
//! speed. They must be equal to the token where requests are sequential (one user, one replica) and
//! both runs sent the same. Where requests overlap, the order of stores and lookups depends on
//! speed: the shares of the prompt tokens must agree within a tolerance. The same holds where
//! LMCache's server evicted or was full: it evicts by the clock, whose phase is not predictable.
//! Its levels are then given and not judged.
//!
//! LMCache's server separates its levels only in lookups, which start at the first token and
//! include what the GPU has. Both runs are compared by those.
//!
//! Throughput and latency are given with the error of the prediction and not judged.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, to_value};
use weir_model::{SignalKind, TierKind};
use weir_spec::plan::{Arm, Cell, Level, LevelLoad};

use crate::metric::metric;
use crate::results::{CellResult, Results, ResultsError};
use crate::sources::Seen;
use crate::statistics::{change_percent, mean};
use crate::words;

/// Metrics given with the error of their prediction.
const PREDICTED: [&str; 4] = ["output_tokens_per_s", "ttft_mean_ms", "ttft_p50_ms", "tpot_mean_ms"];

/// Default tolerance, percent of the prompt tokens.
pub const TOLERANCE_PERCENT: f64 = 5.0;

#[derive(Debug, Clone, Serialize)]
pub struct PredictionComparison {
    /// Name of the simulated run.
    pub predicted: String,
    /// Name of the live run.
    pub measured: String,
    /// Largest accepted difference in hit tokens, percent of the prompt tokens, where requests
    /// overlap.
    pub tolerance_percent: f64,
    /// Settings of the plans that differ, a sentence each.
    pub differences: Vec<String>,
    /// Cells that were not compared, with the reason.
    pub left_out: Vec<String>,
    /// Per arm and level.
    pub groups: Vec<PredictedGroup>,
}

#[derive(Debug, Clone, Serialize)]
pub struct PredictedGroup {
    pub model: String,
    pub hardware: String,
    pub arm: String,
    pub level: String,
    pub repeats: usize,
    /// One request ran at a time.
    pub sequential: bool,
    /// Hit tokens must be equal: sequential, nothing evicted by the clock, and both runs sent the
    /// same.
    pub exact: bool,
    /// Prompt tokens, and hits by tier.
    pub tokens: Vec<PredictedTokens>,
    pub metrics: Vec<PredictedMetric>,
}

#[derive(Debug, Clone, Serialize)]
pub struct PredictedTokens {
    /// "prompt", "gpu", "host", "disk", "remote" or "all tiers"; "host lookups" and so on where the
    /// GPU's hits are included.
    pub place: &'static str,
    /// None for prompts and for several tiers together.
    #[serde(skip)]
    pub tier: Option<TierKind>,
    pub predicted: Option<f64>,
    pub measured: Option<f64>,
    pub difference: Option<f64>,
    /// Measured minus predicted share of the run's prompt tokens, percentage points; for the prompt
    /// tokens themselves the relative difference.
    pub difference_percent: Option<f64>,
    /// Whether it is exact, or within the tolerance. Absent for prompt tokens and for levels that
    /// evict by the clock.
    pub holds: Option<bool>,
}

#[derive(Debug, Clone, Serialize)]
pub struct PredictedMetric {
    pub metric: &'static str,
    pub predicted: f64,
    pub measured: f64,
    /// 100 x (predicted / measured - 1).
    pub error_percent: f64,
}

#[derive(Default)]
struct Pairs<'r> {
    predicted: Vec<&'r CellResult>,
    measured: Vec<&'r CellResult>,
}

/// Matches cells by their path and seed.
pub fn compare_prediction(
    predicted: &Results<'_>,
    measured: &Results<'_>,
    tolerance_percent: f64,
) -> Result<PredictionComparison, ResultsError> {
    predicted.check()?;
    measured.check()?;
    let mut comparison = PredictionComparison {
        predicted: predicted.provenance.run.clone(),
        measured: measured.provenance.run.clone(),
        tolerance_percent,
        differences: differences(predicted, measured),
        left_out: Vec::new(),
        groups: Vec::new(),
    };
    let simulated: BTreeMap<&str, (&Cell, &CellResult)> = by_path(predicted);
    let seen: BTreeMap<&str, (&Cell, &CellResult)> = by_path(measured);
    let planned: BTreeMap<&str, &Cell> =
        predicted.plan.cells.iter().map(|cell| (cell.path.as_str(), cell)).collect();
    let mut groups: BTreeMap<(usize, usize, usize), Pairs<'_>> = BTreeMap::new();
    for cell in &measured.plan.cells {
        let path = cell.path.as_str();
        let left_out = match (planned.get(path), simulated.get(path), seen.get(path)) {
            (None, _, _) => Some("not in the simulated run's plan".to_owned()),
            (Some(other), _, _) if other.seed != cell.seed => {
                Some("the seeds of the workload differ".to_owned())
            }
            (_, None, _) => Some("not simulated yet".to_owned()),
            (_, _, None) => Some("not measured yet".to_owned()),
            (_, Some((_, simulated)), Some((_, seen))) => {
                let (left, pair) = (uncounted(simulated, seen), (*simulated, *seen));
                if left.is_none() {
                    let group = groups.entry((cell.deployment, cell.arm, cell.level)).or_default();
                    group.predicted.push(pair.0);
                    group.measured.push(pair.1);
                }
                left
            }
        };
        comparison.left_out.extend(left_out.map(|why| format!("{path}: {why}")));
    }
    comparison.left_out.sort();
    for ((deployment, arm, level), pairs) in groups {
        let of = &measured.plan.deployments[deployment];
        let sequential = of.levels[level].load == LevelLoad::Users(1) && of.replicas == 1;
        let mut group = PredictedGroup {
            model: of.model.name.clone(),
            hardware: of.label.clone(),
            arm: of.arms[arm].name.clone(),
            level: of.levels[level].name.clone(),
            repeats: pairs.measured.len(),
            sequential,
            exact: false,
            tokens: Vec::new(),
            metrics: metrics(&pairs),
        };
        tokens(&of.arms[arm], &pairs, tolerance_percent, &mut group);
        comparison.groups.push(group);
    }
    Ok(comparison)
}

fn by_path<'r>(results: &'r Results<'_>) -> BTreeMap<&'r str, (&'r Cell, &'r CellResult)> {
    let entry = |result: &'r CellResult| {
        let cell = &results.plan.cells[result.cell];
        (cell.path.as_str(), (cell, result))
    };
    results.cells.iter().map(entry).collect()
}

fn uncounted(predicted: &CellResult, measured: &CellResult) -> Option<String> {
    let of = |side: &CellResult| words::verdict(&side.verdict());
    match (predicted.counts(), measured.counts()) {
        (true, true) => None,
        (true, false) => Some(format!("measured: {}", of(measured))),
        (false, true) => Some(format!("simulated: {}", of(predicted))),
        (false, false) => Some(format!("measured: {}; simulated: {}", of(measured), of(predicted))),
    }
}

fn metrics(pairs: &Pairs<'_>) -> Vec<PredictedMetric> {
    let value = |key: &str, of: &[&CellResult]| {
        let metric = metric(key)?;
        mean(&of.iter().filter_map(|result| metric.exact(result)).collect::<Vec<_>>())
    };
    let compared = |key: &'static str| {
        let (predicted, measured) = (value(key, &pairs.predicted)?, value(key, &pairs.measured)?);
        let error_percent = change_percent(measured, predicted)?;
        Some(PredictedMetric { metric: key, predicted, measured, error_percent })
    };
    PREDICTED.into_iter().filter_map(compared).collect()
}

/// Sets the tokens of a group and whether they must be equal.
fn tokens(arm: &Arm, pairs: &Pairs<'_>, tolerance_percent: f64, group: &mut PredictedGroup) {
    let (predicted, measured) = (Seen::of(&pairs.predicted), Seen::of(&pairs.measured));
    let prompts = [&predicted, &measured].map(|seen| seen.get(SignalKind::PromptTokens));
    let same = prompts[0].is_some() && prompts[0] == prompts[1];
    let clocked = [&predicted, &measured].iter().any(|seen| is_clocked(arm, seen));
    group.exact = group.sequential && same && !clocked;
    let row = |place, simulated: Option<f64>, seen: Option<f64>| {
        let share = |tokens: Option<f64>, prompt: Option<f64>| {
            Some(100.0 * tokens? / prompt.filter(|prompt| *prompt > 0.0)?)
        };
        let difference = seen.zip(simulated).map(|(seen, simulated)| seen - simulated);
        let points = share(seen, prompts[1])
            .zip(share(simulated, prompts[0]))
            .map(|(seen, simulated)| seen - simulated);
        let holds = if group.exact {
            difference.map(|difference| difference == 0.0)
        } else {
            points.map(|points| points.abs() <= tolerance_percent)
        };
        PredictedTokens {
            place,
            tier: None,
            predicted: simulated,
            measured: seen,
            difference,
            difference_percent: points,
            holds,
        }
    };
    let relative =
        prompts[0].zip(prompts[1]).and_then(|(simulated, seen)| change_percent(simulated, seen));
    let mut rows = vec![PredictedTokens {
        difference_percent: relative,
        holds: None,
        ..row("prompt", prompts[0], prompts[1])
    }];
    for place in places(arm) {
        let mut row = row(place.name(), place.hits(&predicted), place.hits(&measured));
        row.tier = place.tier();
        if clocked && matches!(place, Place::Lookups(_)) {
            row.holds = None;
        }
        rows.push(row);
    }
    group.tokens = rows;
}

/// True where evictions or refused stores depended on the time.
fn is_clocked(arm: &Arm, seen: &Seen) -> bool {
    let some = |kind| seen.tiers(kind).any(|(_, value)| value > 0.0);
    arm.mechanism().is_some_and(|of| of.evicts_by_clock)
        && (some(SignalKind::EvictedBytes) || some(SignalKind::StoreFailures))
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Gpu,
    /// All tiers below the GPU: the engine's count of connector hits.
    AllTiers,
    /// The same count, where there is only one tier.
    OnlyTier(TierKind),
    Tier(TierKind),
    Lookups(TierKind),
}

impl Place {
    const fn name(self) -> &'static str {
        match self {
            Self::Gpu => "gpu",
            Self::AllTiers => "all tiers",
            Self::OnlyTier(kind) | Self::Tier(kind) => kind.name(),
            Self::Lookups(TierKind::Disk) => "disk lookups",
            Self::Lookups(TierKind::Remote) => "remote lookups",
            Self::Lookups(_) => "host lookups",
        }
    }

    const fn tier(self) -> Option<TierKind> {
        match self {
            Self::Gpu => Some(TierKind::Gpu),
            Self::AllTiers => None,
            Self::OnlyTier(kind) | Self::Tier(kind) | Self::Lookups(kind) => Some(kind),
        }
    }

    /// None where no source reports it.
    fn hits(self, seen: &Seen) -> Option<f64> {
        let of = |kind, lookups| {
            let seen =
                seen.all(SignalKind::hits_of(kind)).iter().find(|seen| seen.at_lookup == lookups);
            seen.map(|seen| seen.value)
        };
        match self {
            Self::Gpu => seen.get(SignalKind::GpuHitTokens),
            Self::AllTiers | Self::OnlyTier(_) => seen.get(SignalKind::ExternalHitTokens),
            Self::Tier(kind) => of(kind, false),
            Self::Lookups(kind) => of(kind, true),
        }
    }
}

fn places(arm: &Arm) -> Vec<Place> {
    let mut places = vec![Place::Gpu];
    let Some(offload) = &arm.offload else { return places };
    let tiers: Vec<TierKind> = offload.capacities().map(|(tier, _)| tier).collect();
    if let [only] = tiers.as_slice() {
        places.push(Place::OnlyTier(*only));
        return places;
    }
    let behind = offload.traits().looks_behind_gpu();
    let of_tier = |kind| if behind { Place::Tier(kind) } else { Place::Lookups(kind) };
    places.extend(tiers.into_iter().map(of_tier));
    places.push(Place::AllTiers);
    places
}

fn differences(predicted: &Results<'_>, measured: &Results<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for of in &measured.plan.deployments {
        let place = format!("{} on {}", of.model.name, of.label);
        let same = |other: &&weir_spec::plan::Deployment| {
            other.model.name == of.model.name && other.label == of.label
        };
        let Some(other) = predicted.plan.deployments.iter().find(same) else {
            found.push(format!("{place}: not in the simulated run"));
            continue;
        };
        if other.engine != of.engine {
            let which = differing(&other.engine, &of.engine).join(", ");
            found.push(format!("{place}: engine settings of the simulated run differ: {which}"));
        }
        if other.replicas != of.replicas {
            found.push(format!("{place}: {} and {} replicas", other.replicas, of.replicas));
        }
        for arm in &of.arms {
            let twin = other.arms.iter().find(|twin| twin.name == arm.name);
            if twin.is_some_and(|twin| twin.offload != arm.offload || twin.routing != arm.routing) {
                found.push(format!("{place}: the settings of {} differ", arm.name));
            }
        }
        for level in &of.levels {
            let twin = other.levels.iter().find(|twin| twin.name == level.name);
            if twin.is_some_and(|twin| !is_asked_the_same(twin, level)) {
                found.push(format!("{place}: the workload or load of {} differs", level.name));
            }
        }
    }
    found
}

/// Settings that are not equal: "blocks 129 and not 130".
fn differing(one: &impl Serialize, other: &impl Serialize) -> Vec<String> {
    let (Ok(Value::Object(one)), Ok(Value::Object(other))) = (to_value(one), to_value(other))
    else {
        return Vec::new();
    };
    let differ = one.iter().filter(|(key, value)| other.get(*key) != Some(value));
    differ
        .map(|(key, value)| format!("{key} {value} and not {}", other.get(key).unwrap_or(&NULL)))
        .collect()
}

const NULL: Value = Value::Null;

fn is_asked_the_same(one: &Level, other: &Level) -> bool {
    one.load == other.load
        && one.workload == other.workload
        && one.duration == other.duration
        && one.max_requests == other.max_requests
        && one.warmup == other.warmup
}
