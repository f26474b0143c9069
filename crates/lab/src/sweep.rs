use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use weir_field::Field;
use weir_record::{CellState, RunFolder};
use weir_spec::plan::{Cell, Plan};

use crate::cell::run_cell;
use crate::error::LabError;
use crate::outcome::Sweep;
use crate::progress::{Progress, Stop};

/// A cell depends on no other cell and on no thread.
pub fn run_missing(
    run: &RunFolder,
    plan: &Plan,
    jobs: usize,
    field: Option<&Field>,
    progress: &dyn Progress,
    stop: &Stop,
) -> Result<Sweep, LabError> {
    let mut sweep = Sweep::default();
    let missing = missing(run, plan, &mut sweep)?;
    // A live cell has the machine to itself.
    let are_live = plan.target.live().is_some();
    let threads = if are_live { 1 } else { jobs.clamp(1, missing.len().max(1)) };
    progress.sweep_begins(missing.len(), are_live);
    let queue = Queue {
        cells: missing,
        next: AtomicUsize::new(0),
        ran: AtomicUsize::new(0),
        failure: Mutex::new(None),
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                queue.work(|cell| run_cell(run, plan, cell, field, progress, stop), stop);
            });
        }
    });
    sweep.ran = queue.ran.into_inner();
    sweep.is_stopped = stop.is_asked();
    progress.sweep_ends(&sweep);
    match queue.failure.into_inner() {
        Some(failure) => Err(failure),
        None => Ok(sweep),
    }
}

/// In the plan's order.
fn missing<'a>(
    run: &RunFolder,
    plan: &'a Plan,
    sweep: &mut Sweep,
) -> Result<Vec<&'a Cell>, LabError> {
    let mut missing = Vec::new();
    for cell in &plan.cells {
        match run.cell_state(&cell.path)? {
            CellState::Complete(_) => sweep.kept += 1,
            CellState::Damaged(why) => {
                sweep.repaired.push(format!("{}: {why}", cell.path));
                missing.push(cell);
            }
            CellState::Missing | CellState::Incomplete => missing.push(cell),
        }
    }
    Ok(missing)
}

struct Queue<'a> {
    cells: Vec<&'a Cell>,
    next: AtomicUsize,
    ran: AtomicUsize,
    /// Nothing begins after the first failure.
    failure: Mutex<Option<LabError>>,
}

impl Queue<'_> {
    fn work(&self, run: impl Fn(&Cell) -> Result<bool, LabError>, stop: &Stop) {
        let failure = || self.failure.lock();
        while let Some(cell) = self.cells.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if stop.is_asked() || failure().is_some() {
                return;
            }
            match run(cell) {
                Ok(true) => _ = self.ran.fetch_add(1, Ordering::Relaxed),
                Ok(false) => return,
                Err(error) => {
                    let (path, source) = (cell.path.clone(), Box::new(error));
                    failure().get_or_insert(LabError::Cell { path, source });
                    return;
                }
            }
        }
    }
}
