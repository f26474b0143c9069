//! Turns the experiment into the plan: fills in defaults, looks up names, and refuses combinations
//! that cannot work.

mod arm;
mod as_deployed;
mod client;
mod deployment;
mod engine;
mod input;
mod kubernetes;
mod level;
mod live_router;
mod local;
mod offload;
mod origin;
mod routing;
mod target;
mod trace;
mod warning;

pub use as_deployed::{ARM as AS_DEPLOYED, ENDPOINT};
pub(crate) use engine::VLLM;
pub(crate) use local::is_secret_name;
pub use routing::routing_policy;

use std::collections::{BTreeMap, BTreeSet};

use weir_model::Nanos;
use weir_workload::WorkloadError;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::document::{PriceSection, SloSection, Spec};
use crate::error::SpecError;
use crate::experiment::Experiment;
use crate::plan::{Cell, Deployment, PLAN_FORMAT, Plan, Prices, Slo};
use crate::prediction;
use crate::withheld::{self, Recorded};

const HOUR: Nanos = Nanos::from_secs(3600);
/// For times per token, sequence or key.
const SECOND: Nanos = Nanos::from_secs(1);

/// Default share of the eligible reuse that counts as `effective`.
pub(crate) const EFFECTIVE_SHARE: f64 = 0.1;
/// A larger number is a mistake.
const MOST_REPEATS: u32 = 10_000;
/// A request row names its replica in 16 bits.
const MOST_REPLICAS: u32 = 4096;

impl From<WorkloadError> for SpecError {
    fn from(error: WorkloadError) -> Self {
        Self::Workload(error.to_string())
    }
}

impl Plan {
    /// Reads only model files and traces.
    pub fn resolve(experiment: &Experiment) -> Result<Self, SpecError> {
        let spec = &experiment.spec;
        check_top(spec)?;
        if as_deployed::is_meant(spec) {
            return as_deployed::resolve(experiment);
        }
        let effective_share = effective_share(spec)?;
        let (mut deployments, assumed) = deployment::all(experiment)?;
        let traces = trace::read(&mut deployments)?;
        let client = client::resolve(&spec.client, &experiment.base)?;
        let target = target::resolve(&spec.target, &experiment.base, &client, &deployments)?;
        let mut plan = Self {
            format: PLAN_FORMAT,
            name: spec.name.clone(),
            target,
            seed: spec.seed,
            repeats: spec.repeats,
            effective_share,
            slo: Slo::of(&spec.slo),
            prices: prices(&spec.prices)?,
            client,
            salt: None,
            origins: origin::all(experiment, &deployments),
            warnings: warning::all(spec, &deployments, &assumed),
            inputs: BTreeMap::new(),
            traces,
            deployments,
            cells: Vec::new(),
        };
        plan.cells = cells(&plan)?;
        // After the predictions, whose errors about a trace are better.
        plan.inputs = input::profiles(experiment)?;
        plan.warnings.extend(warning::warm_profiles(plan.inputs.keys())?);
        input::digests(&mut plan)?;
        input::locate(&mut plan);
        Ok(plan)
    }

    /// Hash of everything that decides the results: without origins, warnings, the prompts' salt
    /// and the reasons for reading traces; files by their content. Guards `--resume`.
    pub fn plan_hash(&self) -> String {
        let mut plan = self.without_paths();
        plan.origins.clear();
        plan.warnings.clear();
        plan.salt = None;
        // Levels contain these values, too.
        plan.traces.clear();
        // As recorded: a run may continue with other tokens in its headers.
        let json =
            serde_json::to_vec(&plan.recorded()).expect("a plan has text keys and finite numbers");
        format!("{:032x}", xxh3_128(&json))
    }

    /// Without values of headers and environment.
    pub fn recorded(&self) -> Recorded<'_> {
        Recorded::of(self)
    }

    /// Refuses a recorded plan or file whose values were withheld.
    pub fn check_complete(&self) -> Result<(), SpecError> {
        match withheld::missing(self) {
            None => Ok(()),
            Some(key) => Err(SpecError::value(
                key,
                "its value is not kept in run folders",
                "write it in the experiment file, or `{from_env: NAME}`; beside --resume, give the \
                 file",
            )),
        }
    }
}

impl Slo {
    fn of(section: &SloSection) -> Self {
        Self {
            ttft: section.ttft.map(|span| span.0),
            tpot: section.tpot.map(|span| span.0),
            e2e: section.e2e.map(|span| span.0),
        }
    }
}

fn check_top(spec: &Spec) -> Result<(), SpecError> {
    if spec.working_sets.is_some() && !as_deployed::is_meant(spec) {
        let problem = "only `arms: [as-deployed]` is asked in several working sets";
        let remedy = "remove it; a workload's `prefixes: {times_gpu: 3}` is one of them";
        return Err(SpecError::value("working_sets", problem, remedy));
    }
    if spec.name.trim().is_empty() {
        return Err(SpecError::value("name", "it is empty", "write a name for the reports"));
    }
    check_repeats(spec.repeats)?;
    if !(1..=MOST_REPLICAS).contains(&spec.replicas) {
        return Err(SpecError::value(
            "replicas",
            format!("{} replicas", spec.replicas),
            format!("write a number from 1 to {MOST_REPLICAS}"),
        ));
    }
    for (key, empty, example) in [
        ("models", spec.models.is_empty(), "`models: [Qwen/Qwen3-8B]`"),
        ("hardware", spec.hardware.0.is_empty(), "`hardware: 2x-l40s`"),
        ("arms", spec.arms.is_empty(), "`arms: [no-offload, native-offload]`"),
    ] {
        if empty {
            return Err(SpecError::value(key, "the list is empty", format!("write {example}")));
        }
    }
    Ok(())
}

fn check_repeats(repeats: u32) -> Result<(), SpecError> {
    if (1..=MOST_REPEATS).contains(&repeats) {
        return Ok(());
    }
    Err(SpecError::value(
        "repeats",
        format!("{repeats} repeats"),
        format!("write a number from 1 to {MOST_REPEATS}"),
    ))
}

fn effective_share(spec: &Spec) -> Result<f64, SpecError> {
    let share = spec.verdict.effective_share.unwrap_or(EFFECTIVE_SHARE);
    if share > 0.0 && share <= 1.0 {
        return Ok(share);
    }
    Err(SpecError::value(
        "verdict.effective_share",
        format!("{share} is not a share"),
        "write a number above 0 and up to 1, for example 0.1",
    ))
}

fn prices(section: &PriceSection) -> Result<Prices, SpecError> {
    let mut prices = Prices::default();
    for (key, price, place) in [
        ("gpu_hour", &section.gpu_hour, &mut prices.gpu_hour),
        ("host_gib_month", &section.host_gib_month, &mut prices.host_gib_month),
        ("disk_gib_month", &section.disk_gib_month, &mut prices.disk_gib_month),
        ("store_gib_month", &section.store_gib_month, &mut prices.store_gib_month),
        ("kvrocks_gib_month", &section.kvrocks_gib_month, &mut prices.kvrocks_gib_month),
    ] {
        let Some(money) = price else { continue };
        if !prices.currency.is_empty() && prices.currency != money.currency {
            return Err(SpecError::value(
                format!("prices.{key}"),
                format!("`{money}` and another price in {}", prices.currency),
                "write all prices in one currency",
            ));
        }
        // A tier can be included in the machine's price and so cost nothing more; a machine cannot.
        if key == "gpu_hour" && money.amount == 0.0 {
            return Err(SpecError::value(
                "prices.gpu_hour",
                format!("`{money}` must be above 0"),
                "write what an hour of one accelerator costs, or leave the key out",
            ));
        }
        prices.currency.clone_from(&money.currency);
        *place = Some(money.amount);
    }
    Ok(prices)
}

/// Per deployment, level and repeat, all arms one after another, so that compared arms run
/// together. Live targets drift, so there the levels of a deployment and repeat come in random
/// order, and so do the arms of a level.
fn cells(plan: &Plan) -> Result<Vec<Cell>, SpecError> {
    let mut cells = Vec::new();
    for (d, deployment) in plan.deployments.iter().enumerate() {
        for (l, level) in deployment.levels.iter().enumerate() {
            let seed = cell_seed(plan.seed, &level.name, 0);
            let predictions = prediction::of_level(deployment, level, seed, plan.effective_share)?;
            for repeat in 0..plan.repeats {
                for (a, prediction) in predictions.iter().enumerate() {
                    cells.push(Cell {
                        path: cell_path(deployment, a, &level.name, repeat),
                        deployment: d,
                        arm: a,
                        level: l,
                        repeat,
                        seed: cell_seed(plan.seed, &level.name, repeat),
                        prediction: prediction.clone(),
                    });
                }
            }
        }
    }
    if plan.target.live().is_some() {
        in_random_order(plan, &mut cells);
    }
    Ok(cells)
}

/// From the seed alone.
fn in_random_order(plan: &Plan, cells: &mut [Cell]) {
    cells.sort_by_key(|cell| {
        let deployment = &plan.deployments[cell.deployment];
        let level = &deployment.levels[cell.level].name;
        let arm = &deployment.arms[cell.arm].name;
        let round = derived_seed(plan.seed, &format!("order/{level}/{}", cell.repeat));
        let turn = derived_seed(plan.seed, &format!("order/{level}/{}/{arm}", cell.repeat));
        (cell.deployment, cell.repeat, round, turn)
    });
}

fn cell_path(deployment: &Deployment, arm: usize, level: &str, repeat: u32) -> String {
    let model = slug(&deployment.model.name);
    format!("{model}/{}/{}/{level}/{repeat}", deployment.label, deployment.arms[arm].name)
}

/// Independent of the arm: all arms get the same requests.
fn cell_seed(master: u64, level: &str, repeat: u32) -> u64 {
    derived_seed(master, &format!("workload/{level}/{repeat}"))
}

fn derived_seed(master: u64, purpose: &str) -> u64 {
    let mut bytes = master.to_le_bytes().to_vec();
    bytes.extend_from_slice(purpose.as_bytes());
    xxh3_64(&bytes)
}

fn slug(name: &str) -> String {
    let plain = name.replace('/', "--");
    plain
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
        .collect()
}

/// Refuses implausibly long spans: sums of many stay in range.
fn check_span(key: &str, span: Nanos, most: Nanos) -> Result<(), SpecError> {
    if span <= most {
        return Ok(());
    }
    Err(SpecError::value(key, format!("{span} is too long"), format!("write at most {most}")))
}

fn check_name(key: &str, name: &str) -> Result<(), SpecError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !name.is_empty() && name.chars().all(plain) && !name.starts_with('.') {
        return Ok(());
    }
    Err(SpecError::value(
        key,
        format!("`{name}` cannot be a folder's name"),
        "use letters, digits, `.`, `_` and `-`",
    ))
}

fn check_unique<'a>(
    key: &str,
    names: impl IntoIterator<Item = &'a str>,
    remedy: &str,
) -> Result<(), SpecError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(SpecError::value(key, format!("`{name}` stands there twice"), remedy));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_by_level_and_repeat_and_are_stable() {
        let seeds = [
            cell_seed(1, "c50", 0),
            cell_seed(1, "c50", 1),
            cell_seed(1, "c5", 0),
            cell_seed(2, "c50", 0),
        ];
        let mut unique = seeds.to_vec();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), seeds.len());
        assert_eq!(cell_seed(1, "c50", 0), seeds[0]);
    }

    #[test]
    fn slugs_are_one_folder() {
        assert_eq!(slug("Qwen/Qwen3-8B"), "Qwen--Qwen3-8B");
        assert_eq!(slug("a b:c"), "a-b-c");
        assert!(check_name("arms", "../x").is_err());
    }
}
