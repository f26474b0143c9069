//! Progress of a run, and the request to stop it.
//!
//! A run calls these methods from the thread of the event. All have empty defaults.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_deploy::leftovers::Cleared;
use weir_deploy::local::Stack;
use weir_load::LiveSnapshot;
use weir_spec::plan::{Cell, Level};

use crate::outcome::Sweep;

/// State of a live cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The arm is started, or found.
    BringUp,
    /// First requests, not measured.
    WarmUp,
    Flush,
    Load,
    Collect,
    TakeDown,
}

/// Simulated cells end on several threads at once.
pub trait Progress: Sync {
    /// Remains of a killed run were ended or removed.
    fn cleared(&self, _what: &Cleared) {}

    fn stack_found(&self, _stack: &Stack) {}

    /// `cells` run now. Live ones run one by one and report their load.
    fn sweep_begins(&self, _cells: usize, _are_live: bool) {}

    fn live_cell_begins(&self, _cell: &Cell, _level: &Level) {}

    fn phase(&self, _phase: Phase) {}

    /// Several times a second.
    fn load(&self, _now: &LiveSnapshot) {}

    fn live_cell_ends(&self) {}

    /// `cell.json` is there.
    fn cell_done(&self, _cell: &Cell) {}

    /// Also after a failure.
    fn sweep_ends(&self, _sweep: &Sweep) {}
}

/// Keeps nothing of a cell under way. Clones share one flag.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// True for the first request.
    pub fn ask(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }

    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
