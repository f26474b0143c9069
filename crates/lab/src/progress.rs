//! Who watches a run, and the wish to end it.
//!
//! A run pushes: it calls these methods when something happens, from the thread on which it does.
//! Whoever wants to know implements what it wants; the rest does nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_deploy::leftovers::Cleared;
use weir_deploy::local::Stack;
use weir_load::LiveSnapshot;
use weir_spec::plan::{Cell, Level};

use crate::outcome::Sweep;

/// Where a live cell stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The arm is brought up, or looked for.
    BringUp,
    /// First requests, not measured.
    WarmUp,
    Flush,
    Load,
    Collect,
    /// What was brought up goes.
    TakeDown,
}

/// Follows a run. Simulated cells end on several threads at once.
pub trait Progress: Sync {
    /// Something that a killed run had left was ended or removed.
    fn cleared(&self, _what: &Cleared) {}

    /// The software that the cells will run.
    fn stack_found(&self, _stack: &Stack) {}

    /// So many cells run now. Live ones run one by one, and say how far they are.
    fn sweep_begins(&self, _cells: usize, _are_live: bool) {}

    fn live_cell_begins(&self, _cell: &Cell, _level: &Level) {}

    fn phase(&self, _phase: Phase) {}

    /// How far the load of a live cell is: several times a second.
    fn load(&self, _now: &LiveSnapshot) {}

    fn live_cell_ends(&self) {}

    /// A cell is complete: its `cell.json` is there.
    fn cell_done(&self, _cell: &Cell) {}

    /// No cell runs any more, also after a failure.
    fn sweep_ends(&self, _sweep: &Sweep) {}
}

/// Asks a run to end; of a cell under way nothing is kept. Clones are one wish.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// True where it is asked for the first time.
    pub fn ask(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }

    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
