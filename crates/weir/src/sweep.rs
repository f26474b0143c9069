//! The order of a sweep: which cells still have to run, on how many threads, and what came of it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use weir_model::Verdict;
use weir_record::{CellState, CellStatus, RunFolder};
use weir_spec::plan::{Cell, Plan};

use crate::cell::run_cell;
use crate::interrupt::Interrupt;
use crate::printer::Printer;
use crate::progress::Progress;

/// What came of a sweep.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Cells that ran now.
    pub(crate) ran: usize,
    /// Cells that were complete before.
    pub(crate) kept: usize,
    /// Cells whose files were damaged and that ran again, with the reason.
    pub(crate) repaired: Vec<String>,
    /// True when the user stopped it.
    pub(crate) interrupted: bool,
}

/// Runs what is missing. Each cell is independent of the others and of the thread it runs on.
pub(crate) fn run_missing(
    run: &RunFolder,
    plan: &Plan,
    jobs: usize,
    interrupt: &Interrupt,
    printer: &mut Printer,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut missing = Vec::new();
    for cell in &plan.cells {
        match run.cell_state(&cell.path)? {
            CellState::Complete(_) => outcome.kept += 1,
            CellState::Damaged(why) => {
                outcome.repaired.push(format!("{}: {why}", cell.path));
                missing.push(cell);
            }
            CellState::Missing | CellState::Incomplete => missing.push(cell),
        }
    }
    let quiet = printer.is_quiet();
    // A live cell shows its own progress, and has the machine to itself.
    let jobs = if plan.target.is_live() { 1 } else { jobs };
    let progress = Progress::new(missing.len(), printer, plan.target.is_live());
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let (done, finished) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, missing.len().max(1)) {
            let done = done.clone();
            let (next, failed, missing) = (&next, &failed, &missing);
            scope.spawn(move || {
                while let Some(cell) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if interrupt.is_set() || failed.lock().is_ok_and(|error| error.is_some()) {
                        return;
                    }
                    match run_cell(run, plan, cell, interrupt, quiet) {
                        Ok(true) => drop(done.send(*cell)),
                        Ok(false) => return,
                        Err(error) => {
                            let error = error.context(format!("cell {}", cell.path));
                            if let Ok(mut first) = failed.lock() {
                                first.get_or_insert(error);
                            }
                            return;
                        }
                    }
                }
            });
        }
        drop(done);
        for cell in finished {
            outcome.ran += 1;
            progress.cell_done(&cell.path, printer);
        }
    });
    progress.finish();
    if let Ok(Some(error)) = failed.into_inner() {
        return Err(error);
    }
    outcome.interrupted = interrupt.is_set();
    Ok(outcome)
}

/// True when a cell's result is not what the plan let expect.
pub(crate) fn is_surprising(cell: &Cell, status: &CellStatus, verdict: &Verdict) -> bool {
    match verdict {
        _ if *status != CellStatus::Complete => true,
        Verdict::Failed(_) | Verdict::Corrupt | Verdict::Refused => true,
        Verdict::Void(_) => !matches!(cell.prediction.verdict, Verdict::Void(_)),
        Verdict::Unverified => cell.prediction.verdict != Verdict::Unverified,
        Verdict::Control | Verdict::Effective | Verdict::OverheadOnly(_) => false,
    }
}
