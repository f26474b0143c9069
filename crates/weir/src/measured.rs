//! A live cell: run by its protocol, watched, and stopped by the user.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_deploy::leftovers::run_id;
use weir_load::Live;
use weir_model::{RunningFacts, Signals};
use weir_record::{CellWriter, RunFolder};
use weir_spec::plan::{Cell, Plan};
use weir_trial::{Phase, TrialError};

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
    let trial = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                if interrupt.is_set() {
                    // Nothing of the cell is kept.
                    live.stop();
                }
                view.show(&live.snapshot());
                std::thread::sleep(LOOK);
            }
        });
        let mut phase = |phase: Phase| {
            interrupt.waits_for(Waiting::Live(phase));
            view.phase(phase);
        };
        let trial = weir_trial::run(plan, cell, &id, writer, &live, &mut phase);
        over.store(true, Ordering::Release);
        trial
    });
    view.finish();
    if interrupt.is_set() {
        return Ok(None);
    }
    let trial = match trial {
        Err(error)
            if error.is_of_the_store()
                || (plan.target.starts_processes() && error.is_of_the_cell()) =>
        {
            return Ok(Some(failed(&error)));
        }
        trial => trial?,
    };
    Ok(Some(Ran {
        signals: trial.signals,
        skipped: trial.skipped,
        truncated: trial.truncated,
        contradiction: trial.unfit.map(|why| why.to_string()),
        answers: Some(trial.load.answers),
        certificate: Some(trial.load.certificate),
        notes: trial.notes,
        short_window: trial.short_window,
        doubt: trial.doubt,
        facts: trial.facts,
        changed: trial.changed,
    }))
}

/// A cell that has no result, and why. Its rows and logs are kept.
fn failed(error: &TrialError) -> Ran {
    Ran {
        signals: Signals::default(),
        skipped: 0,
        truncated: 0,
        contradiction: Some(error.to_string()),
        answers: None,
        certificate: None,
        notes: Vec::new(),
        short_window: None,
        doubt: None,
        facts: RunningFacts::default(),
        changed: Vec::new(),
    }
}
