//! Other runs of Weir on this machine during a cell: they take CPU time, memory and bandwidth.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_deploy::other_runs;
use weir_model::Note;

/// Between two looks, in naps.
const NAPS: u32 = 20;
/// Longest delay after the end of a load.
const NAP: Duration = Duration::from_millis(100);

/// Looks until the load is over; a note per process found.
pub(crate) fn watch(over: &AtomicBool) -> Vec<Note> {
    let mut seen = BTreeSet::new();
    loop {
        seen.extend(other_runs());
        for _ in 0..NAPS {
            if over.load(Ordering::Acquire) {
                seen.extend(other_runs());
                return seen.into_iter().map(|pid| Note::OtherRun { pid }).collect();
            }
            std::thread::sleep(NAP);
        }
    }
}
