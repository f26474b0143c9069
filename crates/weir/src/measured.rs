//! A live cell: run by its protocol, watched, and stopped by the user.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_deploy::leftovers::run_id;
use weir_lab::live::{LiveError, Phase};
use weir_load::Live;
use weir_model::{CellFailure, RunningFacts, Signals};
use weir_record::{CellWriter, RunFolder};
use weir_spec::plan::{Cell, Plan};

use crate::cell::Ran;
use crate::interrupt::{Interrupt, Waiting};
use crate::view::View;

/// How often the load is looked at. Seldom, because the one who looks takes processor time away.
const LOOK: Duration = Duration::from_millis(250);

/// Measures a cell into its tables. Nothing when it was interrupted.
pub(crate) fn measure(
    plan: &Plan,
    cell: &Cell,
    run: &RunFolder,
    writer: &mut CellWriter,
    interrupt: &Interrupt,
    quiet: bool,
) -> anyhow::Result<Option<Ran>> {
    let level = &plan.deployments[cell.deployment].levels[cell.level];
    let live = Live::new();
    let id = run_id(run.path());
    let over = AtomicBool::new(false);
    let view = View::new(&cell.path, level, quiet);
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                if interrupt.is_set() {
                    // Nothing of the cell is kept.
                    live.abort();
                }
                view.show(&live.snapshot());
                std::thread::sleep(LOOK);
            }
        });
        let mut phase = |phase: Phase| {
            interrupt.waits_for(Waiting::Live(phase));
            view.phase(phase);
        };
        let outcome = weir_lab::live::run(plan, cell, &id, writer, &live, &mut phase);
        over.store(true, Ordering::Release);
        outcome
    });
    view.finish();
    if interrupt.is_set() {
        return Ok(None);
    }
    let outcome = match outcome {
        Err(error)
            if error.is_of_the_store()
                || (plan.target.starts_processes() && error.is_of_the_cell()) =>
        {
            return Ok(Some(failed(&error)));
        }
        outcome => outcome?,
    };
    Ok(Some(Ran {
        signals: outcome.signals,
        skipped: outcome.skipped,
        truncated: outcome.truncated,
        failure: outcome.unfit.map(CellFailure::Unfit),
        answers: Some(outcome.load.answers),
        certificate: Some(outcome.load.certificate),
        notes: outcome.notes,
        short_window: outcome.short_window,
        startup_warning: outcome.startup_warning,
        facts: outcome.facts,
        changed: outcome.changed,
    }))
}

/// A cell that has no result, and why. Its rows and logs are kept.
fn failed(error: &LiveError) -> Ran {
    Ran {
        signals: Signals::default(),
        skipped: 0,
        truncated: 0,
        failure: Some(CellFailure::Error(error.to_string())),
        answers: None,
        certificate: None,
        notes: Vec::new(),
        short_window: None,
        startup_warning: None,
        facts: RunningFacts::default(),
        changed: Vec::new(),
    }
}
