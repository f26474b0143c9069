//! Progress of a run on stderr.

use parking_lot::Mutex;
use weir_deploy::leftovers::Cleared;
use weir_deploy::local::Stack;
use weir_lab::{Phase, Progress, Stop, Sweep};
use weir_load::LiveSnapshot;
use weir_spec::plan::{Cell, Level};

use crate::interrupt::{Interrupt, Waiting};
use crate::printer::Printer;
use crate::progress::Counter;
use crate::view::View;

pub(crate) struct RunProgress {
    quiet: bool,
    interrupt: Interrupt,
    cells: Mutex<Option<Counter>>,
    view: Mutex<Option<View>>,
}

impl RunProgress {
    pub(crate) fn new(interrupt: Interrupt, quiet: bool) -> Self {
        Self { quiet, interrupt, cells: Mutex::new(None), view: Mutex::new(None) }
    }

    pub(crate) fn stop(&self) -> &Stop {
        self.interrupt.stop()
    }

    fn note(&self, text: &str) {
        Printer::new(self.quiet).note(text);
    }
}

impl Progress for RunProgress {
    fn cleared(&self, what: &Cleared) {
        self.note(&format!("a run before had left {what}: removed"));
    }

    fn stack_found(&self, stack: &Stack) {
        self.note(&stack.words());
    }

    fn sweep_begins(&self, cells: usize, are_live: bool) {
        // A live cell shows its own progress.
        let counter = Counter::new(cells, &Printer::new(self.quiet), are_live);
        *self.cells.lock() = Some(counter);
    }

    fn live_cell_begins(&self, cell: &Cell, level: &Level) {
        *self.view.lock() = Some(View::new(&cell.path, level, self.quiet));
    }

    fn phase(&self, phase: Phase) {
        self.interrupt.waits_for(Waiting::Live(phase));
        if let Some(view) = &*self.view.lock() {
            view.phase(phase);
        }
    }

    fn load(&self, now: &LiveSnapshot) {
        if let Some(view) = &*self.view.lock() {
            view.show(now);
        }
    }

    fn live_cell_ends(&self) {
        if let Some(view) = self.view.lock().take() {
            view.finish();
        }
    }

    fn cell_done(&self, cell: &Cell) {
        if let Some(cells) = &*self.cells.lock() {
            cells.one_done(&cell.path, &mut Printer::new(self.quiet));
        }
    }

    fn sweep_ends(&self, sweep: &Sweep) {
        if let Some(cells) = self.cells.lock().take() {
            cells.finish();
        }
        for damaged in &sweep.repaired {
            self.note(&format!("ran again: {damaged}"));
        }
        if sweep.kept > 0 {
            self.note(&format!("kept {} finished cells, ran {}", sweep.kept, sweep.ran));
        }
    }
}
