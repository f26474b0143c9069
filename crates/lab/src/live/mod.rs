//! One live cell, from bring-up to its outcome.
//!
//! The protocol is the same for every live target: start, warm up the engine, empty and test its
//! caches, offer the load, measure a window of it, drain, collect. Where a target cannot do a
//! step, the cell has a note.

mod beyond;
mod caches;
mod checks;
mod choices;
mod error;
mod first;
mod foreign;
mod journal;
mod load_config;
mod lost;
mod measurement;
mod neighbours;
mod origin;
mod signals;
mod sink;
mod slow;
mod stalls;
mod steady;
mod text;
mod watchdog;
mod window_counters;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_deploy::leftovers::run_id;
use weir_deploy::{CellPlace, Front, Presence, Site, front};
use weir_field::Field;
use weir_load::Live;
use weir_model::{CellFailure, Nanos, RoutingNote};
use weir_observe::{KvEventConfig, KvEventWatch, UtcClock};
use weir_record::{CellWriter, RunFolder};
use weir_spec::plan::{Arm, ArmRole, Cell, Deployment, Level, LiveTarget, Plan};

use crate::live::caches::FirstPrompts;
pub use crate::live::checks::Checks;
pub use crate::live::error::LiveError;
use crate::live::first::{FirstRequests, Vocabulary};
pub use crate::live::journal::{Journal, JournalError};
pub use crate::live::load_config::make_prompts;
use crate::live::measurement::{Measured, Measurement};
use crate::outcome::CellOutcome;
use crate::progress::{Phase, Progress, Stop};

/// Between two looks at the load. A look takes CPU time from it.
const LOOK: Duration = Duration::from_millis(250);
/// Of a load that its requests end.
const LONG_LOAD: Nanos = Nanos::from_secs(4 * 3600);

#[derive(Clone, Copy)]
pub(crate) struct LiveCell<'a> {
    /// None where this process generates the load.
    pub(crate) field: Option<&'a Field>,
    pub(crate) run: &'a RunFolder,
    pub(crate) plan: &'a Plan,
    pub(crate) target: &'a LiveTarget,
    pub(crate) cell: &'a Cell,
}

/// How long KV events are kept for the requests that are judged by them. Rows of other processes
/// come after the load: None where this process generates it.
fn remembered(request_timeout: Nanos, elsewhere: Option<&Level>) -> Nanos {
    let load = elsewhere.map(|level| level.duration.unwrap_or(LONG_LOAD));
    request_timeout + load.unwrap_or_default()
}

/// None when it was stopped.
pub(crate) fn measure(
    LiveCell { field, run, plan, target, cell }: LiveCell<'_>,
    writer: &mut CellWriter,
    progress: &dyn Progress,
    stop: &Stop,
) -> Result<Option<CellOutcome>, LiveError> {
    let deployment = &plan.deployments[cell.deployment];
    let arm = &deployment.arms[cell.arm];
    let (live, over) = (Live::new(), AtomicBool::new(false));
    progress.live_cell_begins(cell, &deployment.levels[cell.level]);
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| follow(&live, &over, progress, stop));
        let run = run_id(run.path());
        let protocol = Protocol {
            field,
            plan,
            target,
            cell,
            deployment,
            arm,
            run: &run,
            live: &live,
            progress,
        };
        let outcome = protocol.run(writer);
        over.store(true, Ordering::Release);
        outcome
    });
    progress.live_cell_ends();
    if stop.is_asked() {
        return Ok(None);
    }
    match outcome {
        Err(error) if error.of_a_shard().is_some() => {
            let failure = error.of_a_shard().cloned().map(CellFailure::Shard);
            Ok(Some(CellOutcome { failure, ..CellOutcome::default() }))
        }
        Err(error)
            if error.is_of_the_store()
                || (starts_processes(target, deployment, arm) && error.is_of_the_cell()) =>
        {
            // A cell without a result, with the reason. Its rows and logs are kept.
            let failure = Some(CellFailure::Error(error.to_string()));
            Ok(Some(CellOutcome { failure, ..CellOutcome::default() }))
        }
        outcome => outcome.map(Some),
    }
}

fn starts_processes(target: &LiveTarget, deployment: &Deployment, arm: &Arm) -> bool {
    let has_front = |router| front::is_needed(router, arm, deployment.replicas);
    matches!(target, LiveTarget::Local(_) | LiveTarget::Kubernetes(_))
        || target.router().is_some_and(has_front)
}

fn follow(live: &Live, over: &AtomicBool, progress: &dyn Progress, stop: &Stop) {
    while !over.load(Ordering::Acquire) {
        if stop.is_asked() {
            live.abort();
        }
        progress.load(&live.snapshot());
        std::thread::sleep(LOOK);
    }
}

struct Protocol<'a> {
    field: Option<&'a Field>,
    plan: &'a Plan,
    target: &'a LiveTarget,
    cell: &'a Cell,
    deployment: &'a Deployment,
    arm: &'a Arm,
    run: &'a str,
    live: &'a Live,
    progress: &'a dyn Progress,
}

impl Protocol<'_> {
    fn run(&self, writer: &mut CellWriter) -> Result<CellOutcome, LiveError> {
        self.progress.phase(Phase::BringUp);
        // Other runs see this file. Where it cannot be written, the cell goes on.
        let _presence = Presence::show(self.run);
        let stopped = || self.live.is_aborted();
        let place = CellPlace { run: self.run, folder: writer.folder(), stopped: &stopped };
        let site =
            Site::stand_up(self.target, &self.plan.client, self.deployment, self.arm, place)?;
        let outcome = self.measured(&site, writer);
        self.progress.phase(Phase::TakeDown);
        // Also after a failure.
        let down = site.tear_down();
        let outcome = outcome?;
        down?;
        Ok(outcome)
    }

    fn measured(&self, site: &Site, writer: &mut CellWriter) -> Result<CellOutcome, LiveError> {
        let Self { field, plan, cell, deployment, arm, live, progress, .. } = *self;
        let mut notes = site.notes();
        // Before the first request: events before the subscription are lost.
        let heard = site.kv_event_endpoints();
        // A request is judged when it has ended, at the latest after its time limit.
        let level = &deployment.levels[cell.level];
        let kept = remembered(plan.client.request_timeout, field.map(|_| level));
        let remember = (heard.len() > 1).then_some(kept);
        let config = KvEventConfig { clock: UtcClock::anchored(), remember };
        let events = (!heard.is_empty()).then(|| KvEventWatch::start(heard, config)).transpose()?;
        progress.phase(Phase::WarmUp);
        let stopped = || live.is_aborted();
        let config = load_config::config(plan, deployment, cell, site)?;
        let is_guess = arm.role == ArmRole::AsDeployed && plan.client.vocabulary.is_none();
        let vocabulary = if is_guess { Vocabulary::Guessed } else { Vocabulary::Known };
        let mut first = FirstRequests::new(config, vocabulary, site, &stopped);
        let store = caches::found_in_store(site);
        first.ask_all()?;
        let prompts = FirstPrompts::of(deployment, &deployment.levels[cell.level], site);
        caches::warm_up(prompts, &mut first)?;
        progress.phase(Phase::Flush);
        let caches = caches::empty(prompts, &mut first, store)?;
        let (config, asked_otherwise) = first.into_config();
        notes.extend(asked_otherwise);
        notes.extend(caches.notes.iter().cloned());
        progress.phase(Phase::Load);
        let readers = site.readers(arm);
        let warm_keys = caches::warm_keys(&caches.emptied);
        let prompts = load_config::order(plan, deployment, site);
        let measurement = Measurement {
            field,
            prompts,
            plan,
            cell,
            deployment,
            site,
            events,
            readers,
            warm_keys,
            live,
            progress,
        };
        let before = site.facts();
        let Measured { mut outcome, checks, started_unix_ns, steady_from, shards } =
            measurement.run(&config, writer, notes)?;
        let after = site.facts();
        outcome.changed = before.changes(&after);
        let otherwise = site.front().map_or(&[][..], Front::otherwise).iter().cloned();
        if arm.processes.picker_config.is_some() {
            // Its author wants it so: the signals show what it does.
            outcome.notes.extend(otherwise.map(|of| RoutingNote::ConfiguredOtherwise(of).into()));
        } else {
            outcome.changed.extend(otherwise);
        }
        outcome.facts = before;
        outcome.facts.extend(after);
        let journal = Journal {
            started_unix_ns,
            endpoints: site.doors().iter().map(|endpoint| endpoint.url().to_string()).collect(),
            salt: plan.salt,
            caches: caches.emptied,
            steady_from,
            shards,
            started: site.processes().map(|local| local.started().clone()),
            front: site.front().map(|front| front.record().clone()),
            checks,
            notes: outcome.notes.clone(),
        };
        journal.write(writer.folder())?;
        Ok(outcome)
    }
}
