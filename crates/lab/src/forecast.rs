//! Predicts how long a plan takes and how many requests it has.
//!
//! Representative cells are simulated for a moment each, unrecorded. The share of the level that
//! passed gives the number of requests, the virtual time, and the CPU time. Other load on this
//! machine takes its share.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use weir_engine::TimingConfig;
use weir_model::{Nanos, RequestRow, StepRow};
use weir_sim::{Recorder, World};
use weir_spec::plan::{Cell, Deployment, Level, LevelLoad, Plan, Target};

use crate::host;
use crate::simulated::world_config;

/// Per sample.
const MOMENT: Duration = Duration::from_millis(40);
const SAMPLES: usize = 24;
/// CPU time of a recorded and judged cell, in multiples of simulating it (published evaluation,
/// `capacity-bound` and the Mooncake trace: 11, 16 and 102 s).
const RECORDED: f64 = 4.0;
/// CPU seconds for the files of a cell of any size.
const FILES: f64 = 0.02;
/// Seconds to prepare caches and servers of an emulated or deployed engine, and to drain.
const READY: f64 = 3.0;
/// The same for processes: a small model's start and end on two cores.
const PROCESSES: f64 = 25.0;
/// Longer levels end by their number of requests.
const NO_LIMIT: Nanos = Nanos::from_secs(30 * 86_400);

#[derive(Debug, Clone, Copy, PartialEq)]
struct PredictedCell {
    requests: f64,
    /// CPU seconds of this machine.
    simulating: f64,
    /// Seconds of the level.
    virtual_time: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Of all cells. None where only the engine determines it.
    pub requests: Option<f64>,
    /// Seconds. None where only the engine determines it.
    pub seconds: Option<f64>,
    /// False for simulated time.
    pub is_live: bool,
}

impl Forecast {
    /// `jobs` simulated cells run at once.
    pub fn of(plan: &Plan, jobs: usize) -> Self {
        let is_live = plan.target.live().is_some();
        let beside = if plan.target.local().is_some() { PROCESSES } else { READY };
        let Some(cells) = predicted(plan) else {
            return Self { requests: None, seconds: bounded(plan, beside), is_live };
        };
        let seconds: f64 = if is_live {
            cells.iter().map(|cell| cell.virtual_time + beside).sum()
        } else {
            let cell = |cell: &PredictedCell| FILES + RECORDED * cell.simulating;
            let jobs = jobs.clamp(1, cells.len().max(1)) as f64;
            // Jobs share what the load of this machine leaves.
            let share = (host::cores() as f64 / (host::load() + jobs)).min(1.0);
            cells.iter().map(cell).sum::<f64>() / jobs / share
        };
        let requests = cells.iter().map(|cell| cell.requests).sum();
        Self { requests: Some(requests), seconds: Some(seconds), is_live }
    }
}

/// In the plan's order. None where an engine is not known well enough.
fn predicted(plan: &Plan) -> Option<Vec<PredictedCell>> {
    if plan.deployments.iter().any(|of| !is_known(plan, of)) {
        return None;
    }
    // Neighbours in this order are alike.
    let mut kinds: Vec<&Cell> = plan.cells.iter().filter(|cell| cell.repeat == 0).collect();
    kinds.sort_by_key(|cell| (cell.level, cell.deployment, cell.arm));
    let stride = kinds.len().div_ceil(SAMPLES).max(1);
    let samples: Vec<(usize, PredictedCell)> = (0..kinds.len())
        .step_by(stride)
        .filter_map(|place| Some((place, sample(plan, kinds[place], MOMENT)?)))
        .collect();
    let nearest = |place: usize| {
        samples.iter().min_by_key(|(at, _)| at.abs_diff(place)).map(|(_, predicted)| *predicted)
    };
    let place = |cell: &Cell| {
        let key = (cell.level, cell.deployment, cell.arm);
        kinds.binary_search_by_key(&key, |kind| (kind.level, kind.deployment, kind.arm)).ok()
    };
    plan.cells.iter().map(|cell| nearest(place(cell)?)).collect()
}

/// Whether the model gives an engine's speed well enough to predict the number of requests.
fn is_known(plan: &Plan, deployment: &Deployment) -> bool {
    // An endpoint without known facts has no pool, and passes that take no time.
    if deployment.engine.kv_bytes_per_token == 0 {
        return false;
    }
    let is_modelled = plan.target == Target::Simulated || plan.target.emulated().is_some();
    let is_recorded = !matches!(deployment.timing, TimingConfig::Analytic(_));
    // CPUs differ too much for common figures.
    is_modelled || is_recorded || !deployment.hardware.is_processor()
}

struct Unrecorded;

impl Recorder for Unrecorded {
    type Error = Infallible;
    fn request(&mut self, _: &RequestRow) -> Result<(), Infallible> {
        Ok(())
    }
    fn step(&mut self, _: &StepRow) -> Result<(), Infallible> {
        Ok(())
    }
}

/// None where the cell cannot be simulated: its run reports why.
fn sample(plan: &Plan, cell: &Cell, moment: Duration) -> Option<PredictedCell> {
    let level = &plan.deployments[cell.deployment].levels[cell.level];
    let mut source = plan.deployments[cell.deployment].open_source(level, cell.seed).ok()?;
    let limit = [level.max_requests, source.requests()].into_iter().flatten().min();
    let (start, used) = (Instant::now(), cpu_seconds());
    let mut reached = (Nanos::ZERO, 0);
    let mut nothing = Unrecorded;
    let world = World::new(world_config(plan, cell).ok()?, &mut source, &mut nothing).ok()?;
    let summary = world.run(|now, issued| {
        reached = (now, issued);
        start.elapsed() < moment
    });
    let simulating = cpu_seconds() - used;
    let whole = |(now, issued): (Nanos, u64), done: f64| PredictedCell {
        requests: issued as f64 / done,
        simulating: simulating / done,
        virtual_time: now.as_secs_f64() / done,
    };
    if let Some(summary) = summary.ok()? {
        return Some(whole((summary.end, summary.issued), 1.0));
    }
    let of_time = share(reached.0.as_secs_f64(), level.duration.map(Nanos::as_secs_f64));
    let of_requests = share(reached.1 as f64, limit.map(|most| most as f64));
    let done = of_time.max(of_requests);
    (done > 0.0).then(|| whole(reached, done.min(1.0)))
}

/// Of this thread.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn share(part: f64, whole: Option<f64>) -> f64 {
    whole.map_or(0.0, |whole| part / whole.max(f64::MIN_POSITIVE))
}

/// Seconds of a load on engines that are not known well enough: the limits of its levels.
fn bounded(plan: &Plan, beside: f64) -> Option<f64> {
    let of = |cell: &Cell| {
        let level = &plan.deployments[cell.deployment].levels[cell.level];
        Some(length(level)? + beside)
    };
    plan.cells.iter().map(of).sum()
}

/// Seconds.
fn length(level: &Level) -> Option<f64> {
    let duration = level.duration.filter(|duration| *duration < NO_LIMIT);
    let rate = match level.load {
        LevelLoad::Constant(rate) | LevelLoad::Poisson(rate) | LevelLoad::Gamma { rate, .. } => {
            Some(rate)
        }
        LevelLoad::Users(_) | LevelLoad::Trace { .. } => None,
    };
    let offered = level.max_requests.zip(rate).map(|(most, rate)| most as f64 / rate);
    [duration.map(Nanos::as_secs_f64), offered].into_iter().flatten().reduce(f64::min)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::path::Path;

    use weir_spec::Experiment;

    use super::*;

    const CLOSED: &str = "\
name: forecast
models: [Qwen/Qwen3-8B]
hardware: 2x-l40s
arms: [no-offload, native-offload]
workload:
  shared-prefix: {prefixes: 20, prefix_tokens: 8000, prompt_tokens: 100, output_tokens: 40}
load: {users: [16], duration: 2000s}
";

    fn plan(text: &str, sets: &[&str]) -> Plan {
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        let experiment = Experiment::parse(text, "forecast.yaml", Path::new(""), &sets).unwrap();
        Plan::resolve(&experiment).unwrap()
    }

    /// Requests and length of a cell that runs to its end.
    fn real(plan: &Plan, cell: &Cell) -> (f64, f64) {
        let deployment = &plan.deployments[cell.deployment];
        let mut source = deployment.open_source(&deployment.levels[0], cell.seed).unwrap();
        let mut nothing = Unrecorded;
        let config = world_config(plan, cell).unwrap();
        let world = World::new(config, &mut source, &mut nothing).unwrap();
        let summary = world.run(|_, _| true).unwrap().unwrap();
        (summary.issued as f64, summary.end.as_secs_f64())
    }

    /// The shortest sample must predict every cell within a factor. It has cold caches, and so
    /// fewer answers.
    #[track_caller]
    fn assert_predicted(plan: &Plan, factor: f64) {
        for cell in &plan.cells {
            let (requests, seconds) = real(plan, cell);
            let predicted = sample(plan, cell, Duration::ZERO).unwrap();
            for (what, predicted, real) in [
                ("requests", predicted.requests, requests),
                ("seconds", predicted.virtual_time, seconds),
            ] {
                let off = (predicted / real).max(real / predicted);
                assert!(off < factor, "{}: {what} {predicted} predicted, {real} real", cell.path);
            }
        }
    }

    #[test]
    fn a_level_is_predicted_by_what_ends_it() {
        assert_predicted(&plan(CLOSED, &[]), 2.5);
        let few = ["load={users: [16], max_requests: 3000, warmup: 0s}"];
        assert_predicted(&plan(CLOSED, &few), 2.5);
        assert_predicted(&plan(CLOSED, &["load={constant: [2], duration: 2000s}"]), 1.5);
    }

    #[test]
    fn a_trace_is_predicted_by_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.jsonl");
        let mut text = String::new();
        for at in 0..4000 {
            let _ = writeln!(
                text,
                "{{\"timestamp\": {}, \"input_length\": 1000, \"output_length\": 20, \
                 \"hash_ids\": [{}, {at}]}}",
                at * 500,
                at % 7
            );
        }
        std::fs::write(&path, text).unwrap();
        let workload =
            format!("workload={{trace: {{format: mooncake, path: \"{}\"}}}}", path.display());
        let plan = plan(CLOSED, &[&workload, "load={trace: {speed: 1}}"]);
        assert_predicted(&plan, 1.5);
        let forecast = Forecast::of(&plan, 1);
        assert!((forecast.requests.unwrap() / 8000.0 - 1.0).abs() < 0.5, "{forecast:?}");
    }

    /// 24 cells of the example took 55 s each, and had 68 requests and not 875.
    #[test]
    fn a_processor_of_no_known_speed_is_predicted_by_its_levels() {
        let text = include_str!("../../../examples/local-cpu.yaml");
        let forecast = Forecast::of(&plan(text, &[]), 2);
        assert_eq!((forecast.requests, forecast.seconds), (None, Some(24.0 * (36.0 + PROCESSES))));
        // An emulated engine has the speed that it is given.
        let forecast = Forecast::of(&plan(text, &["target=simulated"]), 2);
        assert!(forecast.requests.is_some(), "{forecast:?}");
    }
}
