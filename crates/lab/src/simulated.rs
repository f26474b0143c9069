use weir_model::{CellFailure, Nanos, RequestRow, StepRow, Window};
use weir_record::{CellWriter, RecordError};
use weir_sim::{Load, Recorder, Summary, World, WorldConfig};
use weir_spec::plan::{Cell, Level, LevelLoad, Plan};
use weir_workload::{Ramp, Schedule, WorkloadError};

use crate::error::LabError;
use crate::outcome::CellOutcome;
use crate::progress::Stop;
use crate::residence::Residence;

struct Rows<'a> {
    writer: &'a mut CellWriter,
    window: Window,
    residence: Residence,
}

impl Recorder for Rows<'_> {
    type Error = RecordError;
    fn request(&mut self, row: &RequestRow) -> Result<(), RecordError> {
        self.residence.add(row, self.window);
        self.writer.push_request(row)
    }
    fn step(&mut self, row: &StepRow) -> Result<(), RecordError> {
        self.writer.push_step(row)
    }
}

/// None when it was interrupted.
pub(crate) fn simulate(
    plan: &Plan,
    cell: &Cell,
    writer: &mut CellWriter,
    stop: &Stop,
) -> Result<Option<CellOutcome>, LabError> {
    let deployment = &plan.deployments[cell.deployment];
    let level = &deployment.levels[cell.level];
    let mut source = deployment.open_source(level, cell.seed)?;
    let config = world_config(plan, cell)?;
    let window = Window { start: level.warmup, end: level.duration.unwrap_or(Nanos::MAX) };
    let mut rows = Rows { writer, window, residence: Residence::default() };
    let world = World::new(config, &mut source, &mut rows)?;
    let summary = world.run(|_, _| !stop.is_asked())?;
    if let Some(error) = source.error() {
        // Unwrapped: the trace changed during the run, which the user must correct.
        return Err(error.clone().into());
    }
    let (skipped, truncated) = (source.skipped(), source.truncated());
    let residence = rows.residence;
    Ok(summary.map(|summary| CellOutcome {
        failure: unbalanced(&summary),
        signals: summary.signals,
        skipped,
        truncated,
        short_window: residence.short_window(Window { end: summary.end.min(window.end), ..window }),
        ..CellOutcome::default()
    }))
}

pub(crate) fn world_config(plan: &Plan, cell: &Cell) -> Result<WorldConfig, LabError> {
    let deployment = &plan.deployments[cell.deployment];
    let arm = &deployment.arms[cell.arm];
    let level = &deployment.levels[cell.level];
    let replicas = deployment.replicas;
    Ok(WorldConfig {
        engine: deployment.engine_of(arm).clone(),
        timing: deployment.timing.clone(),
        offload: arm.offload.clone(),
        router: arm.routing.clone(),
        replicas: u16::try_from(replicas).map_err(|_| LabError::Replicas { replicas })?,
        load: load(level, cell.seed)?,
        duration: level.duration,
        warmup: level.warmup,
        drain: plan.client.drain,
        max_requests: level.max_requests,
    })
}

/// Checks the simulator's counts exactly, by Little's law.
fn unbalanced(summary: &Summary) -> Option<CellFailure> {
    let recorded = |time: u128| u64::try_from(time).unwrap_or(u64::MAX);
    (summary.flow_integral != summary.residence_sum).then(|| CellFailure::Unbalanced {
        in_flight_ns: recorded(summary.flow_integral),
        residence_ns: recorded(summary.residence_sum),
    })
}

fn load(level: &Level, seed: u64) -> Result<Load, WorkloadError> {
    Ok(match (&level.load, level.load.arrivals()) {
        (_, Some(arrivals)) => Load::Open(Schedule::new(arrivals, seed)?),
        (LevelLoad::Users(users), None) => Load::Users(Ramp::new(*users, level.ramp)),
        (_, None) => Load::SessionTimes,
    })
}
