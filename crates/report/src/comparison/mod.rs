//! Arms compared, per model and hardware: the structure that all outputs are written from.
//!
//! Cells that do not count (void, corrupt, failed, unverified, not run) never enter a mean, a
//! difference or a peak; they appear as verdicts with their reason.

mod decision;
mod deltas;
mod estimate;
mod levels;
mod noise;
mod pairs;
mod peaks;
mod prediction;
mod replicas;
mod runs;
mod standing;
mod warnings;
pub(crate) mod words;

use std::collections::BTreeMap;

use serde::Serialize;
use weir_model::quantity::Tolerance;
use weir_model::{AnswerFacts, Certificate, Verdict};
use weir_spec::cost::CostBasis;
use weir_spec::plan::{Arm, ArmRole, Deployment, Origin, Prediction, Prices, Regime, Target};

pub use decision::{ArmStanding, Decision, LevelStanding, Recommendation};
pub use deltas::{Delta, LevelDelta};
pub use estimate::Estimate;
pub use levels::LevelNote;
pub use noise::NoiseFloor;
pub use peaks::PeakRow;
pub use prediction::{
    PredictedGroup, PredictedMetric, PredictedTokens, PredictionComparison, TOLERANCE_PERCENT,
    compare_prediction,
};
pub use replicas::ReplicaNote;
pub use runs::{RunComparison, RunDelta, compare_runs};
pub use standing::{OBJECTIVES_SHARE, Standing, WORTH_PERCENT};
pub use warnings::short_windows;

use crate::inputs::trace_sentence;
use crate::likeness::SoftwareNote;
use crate::metric::{GOODPUT, METRICS, Metric, THROUGHPUT, TTFT_MEAN, metric};
use crate::oracle::{self, OutputNote};
use crate::precision::{Bound, bound_over};
use crate::results::{
    CellResult, Grid, GroupVerdicts, RequestCounts, Results, ResultsError, Why, reference,
};
use crate::words::note;

/// Version of `analysis/summary.json`; readers refuse another.
pub const SUMMARY_FORMAT: u32 = 2;

/// All arms of a run compared. Serialised as `analysis/summary.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    pub format: u32,
    pub experiment: String,
    pub run: String,
    pub plan_hash: String,
    pub target: String,
    /// True where figures are predictions.
    pub simulated: bool,
    pub seed: u64,
    pub repeats: u32,
    /// Currency of costs; empty without prices.
    pub currency: String,
    pub versions: BTreeMap<String, String>,
    pub cells: CellCounts,
    /// The requests that figures are of.
    pub requests: RequestCounts,
    /// The meaning of intervals in this run, in one sentence.
    pub doubt: String,
    /// How the traces were read, one sentence each.
    pub traces: Vec<String>,
    /// Of the plan and of the analysis.
    pub warnings: Vec<String>,
    /// Values that are not defaults, with their source.
    pub origins: BTreeMap<String, String>,
    pub deployments: Vec<DeploymentComparison>,
    /// A simulated run beside this live one, where given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction: Option<PredictionComparison>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CellCounts {
    pub planned: usize,
    /// With a result, whether it counts or not.
    pub run: usize,
    pub counted: usize,
}

#[derive(Debug, Clone, Serialize)]
pub struct DeploymentComparison {
    pub model: String,
    pub model_slug: String,
    pub hardware: String,
    /// GPUs of all replicas, or CPUs where there is none.
    pub gpus: u32,
    #[serde(skip)]
    pub on_processors: bool,
    pub replicas: u32,
    pub tensor_parallel: u32,
    /// In the file's order.
    pub arms: Vec<ArmNote>,
    /// From light to heavy load.
    pub levels: Vec<LevelNote>,
    #[serde(skip)]
    pub currency: String,
    /// Which tiers costs contain.
    pub cost_basis: CostBasis,
    /// The user's limit for the load generator's error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_error: Option<Tolerance>,
    pub cells_run: (usize, usize),
    pub deciding_metric: &'static str,
    pub decision: Decision,
    pub noise_floor: NoiseFloor,
    pub peaks: Vec<PeakRow>,
    pub groups: Vec<GroupNote>,
    pub deltas: Vec<Delta>,
    /// Live targets: the software of each arm, as it reported itself.
    #[serde(skip_serializing_if = "SoftwareNote::is_empty")]
    pub software: SoftwareNote,
    /// Live targets: per arm and level, its answers against the control's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputNote>,
    /// Live targets with several replicas: what each answered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub balance: Vec<ReplicaNote>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ArmNote {
    pub name: String,
    pub preset: String,
    pub role: ArmRole,
    pub description: String,
    /// The arm it is compared with first; absent for controls.
    pub control: Option<String>,
    pub routing_is_claim: bool,
}

/// The load generator's certificate of one repeat.
#[derive(Debug, Clone, Serialize)]
pub struct CertificateNote {
    pub repeat: u32,
    /// Refusal included.
    #[serde(flatten)]
    pub certificate: Certificate,
}

#[derive(Debug, Clone, Serialize)]
pub struct GroupNote {
    pub arm: String,
    pub level: String,
    pub verdict: GroupVerdicts,
    /// Whether the verdict is predicted by a model rather than observed.
    pub predicted: bool,
    /// From the first repeat with evidence.
    pub explanation: String,
    /// From the first repeat that has one; without a full stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// What could not be done or observed, over the repeats; no full stops.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// From capacities alone.
    pub prediction: Option<GroupPrediction>,
    pub counted: usize,
    pub planned: usize,
    /// Means over the repeats that count, by metric key.
    pub metrics: BTreeMap<&'static str, Estimate>,
    /// Live targets: bounds, by metric key, of metrics without a mean, because the load generator
    /// was the limit or its error is not small.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub bounds: BTreeMap<&'static str, Bound>,
    /// Live targets: how output tokens were counted, over the repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<AnswerFacts>,
    /// Live targets, by repeat, whether it counts or not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateNote>,
}

/// Predicted from capacities alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupPrediction {
    pub verdict: Verdict,
    pub regime: Regime,
}

impl Comparison {
    pub fn of(results: &Results<'_>) -> Result<Self, ResultsError> {
        results.check()?;
        let plan = results.plan;
        let grid = Grid::of(results);
        let simulated = plan.target == Target::Simulated;
        let context = Context { results, grid: &grid, simulated };
        let outputs = oracle::outputs(results).into_iter().enumerate();
        let deployments: Vec<DeploymentComparison> =
            outputs.map(|(index, outputs)| context.deployment(index, outputs)).collect();
        let counted = results.cells.iter().filter(|cell| cell.counts()).count();
        let mut warnings = plan.warnings.clone();
        warnings.extend(warnings::warnings(results, &deployments));
        Ok(Self {
            format: SUMMARY_FORMAT,
            experiment: plan.name.clone(),
            run: results.provenance.run.clone(),
            plan_hash: results.provenance.plan_hash.clone(),
            target: plan.target.words(),
            simulated,
            seed: plan.seed,
            repeats: plan.repeats,
            currency: currency(&plan.prices),
            versions: results.provenance.versions.clone(),
            cells: CellCounts { planned: plan.cells.len(), run: results.cells.len(), counted },
            requests: results.requests(),
            doubt: doubt(simulated, plan.repeats),
            traces: plan.traces.iter().map(trace_sentence).collect(),
            warnings,
            origins: origins(&plan.origins),
            deployments,
            prediction: None,
        })
    }

    /// None where the run is complete.
    pub fn interrupted(&self) -> Option<String> {
        let CellCounts { planned, run, .. } = self.cells;
        (run < planned).then(|| words::interrupted(planned - run, planned))
    }
}

impl DeploymentComparison {
    pub fn group(&self, arm: &str, level: &str) -> Option<&GroupNote> {
        self.groups.iter().find(|group| group.arm == arm && group.level == level)
    }

    /// The change against the arm's first control.
    pub fn change(&self, arm: &str, metric: &str, level: &str) -> Option<&LevelDelta> {
        let control = self.arms.iter().find(|note| note.name == arm)?.control.as_deref()?;
        self.deltas
            .iter()
            .find(|delta| delta.arm == arm && delta.control == control && delta.metric == metric)?
            .levels
            .iter()
            .find(|delta| delta.level == level)
    }

    /// "2 GPUs, 1 replica, tensor parallel 2".
    pub fn facts(&self) -> String {
        let several = |count: u32, noun: &str| match count {
            1 => format!("1 {noun}"),
            _ => format!("{count} {noun}s"),
        };
        let noun = if self.on_processors { "CPU" } else { "GPU" };
        let (gpus, replicas) = (several(self.gpus, noun), several(self.replicas, "replica"));
        format!("{gpus}, {replicas}, tensor parallel {}", self.tensor_parallel)
    }

    /// Each arm with each of its controls, in the plan's order.
    pub fn compared_pairs(&self) -> Vec<(&str, &str)> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for delta in &self.deltas {
            let pair = (delta.arm.as_str(), delta.control.as_str());
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        pairs
    }

    pub fn deciding(&self) -> Option<&'static Metric> {
        metric(self.deciding_metric)
    }
}

pub(crate) struct Context<'r> {
    pub(crate) results: &'r Results<'r>,
    pub(crate) grid: &'r Grid<'r>,
    pub(crate) simulated: bool,
}

impl Context<'_> {
    fn deployment(&self, index: usize, outputs: Vec<OutputNote>) -> DeploymentComparison {
        let deployment = &self.results.plan.deployments[index];
        let levels = levels::notes(deployment);
        let deciding_metric = self.deciding_metric(&levels);
        let noise_floor = noise::noise_floor(self, index, &levels, deciding_metric);
        let mut comparison = DeploymentComparison {
            model: deployment.model.name.clone(),
            model_slug: self.grid.model_slug(index, deployment),
            hardware: deployment.label.clone(),
            gpus: deployment.hardware.count * deployment.replicas,
            on_processors: deployment.hardware.is_processor(),
            replicas: deployment.replicas,
            tensor_parallel: deployment.tensor_parallel,
            arms: arm_notes(deployment),
            peaks: peaks::peaks(self, index, &levels),
            groups: self.groups(index, &levels),
            deltas: deltas::deltas(self, index, &levels, &noise_floor),
            decision: Decision::default(),
            currency: currency(&self.results.plan.prices),
            cost_basis: CostBasis::of(&self.results.plan.prices, deployment),
            max_error: self.results.plan.client.max_error,
            cells_run: self.cells_run(index),
            software: SoftwareNote::of(self.results, index),
            outputs,
            balance: self.balance(index, &levels),
            levels,
            deciding_metric,
            noise_floor,
        };
        comparison.decision = decision::decide(self, index, &comparison);
        comparison
    }

    fn balance(&self, index: usize, levels: &[LevelNote]) -> Vec<ReplicaNote> {
        let arms = &self.results.plan.deployments[index].arms;
        let names: Vec<String> = arms.iter().map(|arm| arm.name.clone()).collect();
        replicas::notes(self.grid, index, &names, levels)
    }

    /// Run and planned.
    fn cells_run(&self, deployment: usize) -> (usize, usize) {
        let plan = self.results.plan;
        let of = |cell: usize| plan.cells[cell].deployment == deployment;
        let run = self.results.cells.iter().filter(|result| of(result.cell)).count();
        (run, (0..plan.cells.len()).filter(|&cell| of(cell)).count())
    }

    fn deciding_metric(&self, levels: &[LevelNote]) -> &'static str {
        if self.results.plan.slo.binds() {
            GOODPUT
        } else if levels.iter().any(|level| level.open_loop) {
            TTFT_MEAN
        } else {
            THROUGHPUT
        }
    }

    fn groups(&self, index: usize, levels: &[LevelNote]) -> Vec<GroupNote> {
        let deployment = &self.results.plan.deployments[index];
        let mut notes = Vec::new();
        for (arm_index, arm) in deployment.arms.iter().enumerate() {
            for level in levels {
                notes.push(self.group(index, arm_index, arm, level));
            }
        }
        notes
    }

    fn group(
        &self,
        deployment: usize,
        arm_index: usize,
        arm: &Arm,
        level: &LevelNote,
    ) -> GroupNote {
        let group = self.grid.group(deployment, arm_index, level.index);
        let counted: Vec<_> = group.counted().map(|(_, result)| result).collect();
        let evidence = group.entries.iter().find_map(|entry| entry.result?.evidence.as_ref());
        let explanation = group.entries.iter().find_map(|entry| entry.result?.why());
        let remedy = group.entries.iter().find_map(|entry| {
            let result = entry.result?;
            Some(words::remedy_words(&result.verdict(), result.remedy()?))
        });
        let metrics: BTreeMap<_, _> = METRICS
            .iter()
            .filter_map(|metric| Some((metric.key, Estimate::of(metric, &counted)?)))
            .collect();
        let ended: Vec<&CellResult> = group
            .entries
            .iter()
            .filter_map(|entry| entry.result)
            .filter(|result| result.counts() || result.verdict() == Verdict::Refused)
            .collect();
        let bounds = METRICS
            .iter()
            .filter(|metric| !metrics.contains_key(metric.key))
            .filter_map(|metric| Some((metric.key, bound_over(metric, &ended)?)))
            .collect();
        let certificates = group
            .entries
            .iter()
            .filter_map(|entry| {
                // Where nothing completed, the generator cannot have made any time wrong.
                let figures = &entry.result?.record.figures;
                let certificate = figures.certificate.clone().filter(|_| figures.completed > 0)?;
                Some(CertificateNote { repeat: entry.cell.repeat, certificate })
            })
            .collect();
        let facts = group.entries.iter().filter_map(|e| e.result?.record.figures.answers);
        let answers = facts.reduce(|mut all, facts| {
            all.merge(&facts);
            all
        });
        GroupNote {
            arm: arm.name.clone(),
            level: level.name.clone(),
            verdict: group.group_verdicts(),
            predicted: evidence.is_some_and(|evidence| evidence.predicted),
            explanation: explanation.map_or_else(String::new, Why::words),
            remedy,
            notes: group.notes().into_iter().map(note).collect(),
            prediction: group.entries.first().map(|entry| {
                let Prediction { verdict, regime, .. } = &entry.cell.prediction;
                GroupPrediction { verdict: verdict.clone(), regime: *regime }
            }),
            counted: counted.len(),
            planned: group.entries.len(),
            metrics,
            bounds,
            answers,
            certificates,
        }
    }
}

/// Empty without prices.
pub(super) fn currency(prices: &Prices) -> String {
    prices.gpu_hour.map_or_else(String::new, |_| prices.currency.clone())
}

fn arm_notes(deployment: &Deployment) -> Vec<ArmNote> {
    let control = |arm| reference(deployment, arm).map(|at| deployment.arms[at].name.clone());
    let note = |(index, arm): (usize, &Arm)| ArmNote {
        name: arm.name.clone(),
        preset: arm.preset.clone(),
        role: arm.role,
        description: arm.description.clone(),
        control: control(index),
        routing_is_claim: arm.routing_is_claim,
    };
    deployment.arms.iter().enumerate().map(note).collect()
}

fn doubt(simulated: bool, repeats: u32) -> String {
    let spread = match (simulated, repeats) {
        (_, 0 | 1) => "One repeat: no interval across repeats; where output throughput has an \
                       interval, it comes from batch means within the run."
            .to_owned(),
        (true, _) => {
            format!("95 % intervals over {repeats} repeats with workload seeds of their own.")
        }
        (false, _) => format!("95 % intervals over {repeats} repeats in randomised order."),
    };
    if simulated {
        format!(
            "{spread} The target is simulated: figures and verdicts are predictions, intervals \
             cover workload seeds only, not the error of the model, and no noise is added."
        )
    } else {
        spread
    }
}

fn origins(origins: &BTreeMap<String, Origin>) -> BTreeMap<String, String> {
    let words = |origin: &Origin| match origin {
        Origin::Default => None,
        Origin::Catalogue(entry) => Some(format!("catalogue: {entry}")),
        Origin::File => Some("experiment file".to_owned()),
        Origin::Override(model) => Some(format!("override for {model}")),
        Origin::Set(text) => Some(format!("--set {text}")),
        Origin::Endpoint => Some("said by the endpoint".to_owned()),
    };
    origins.iter().filter_map(|(path, origin)| Some((path.clone(), words(origin)?))).collect()
}
