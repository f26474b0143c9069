//! Other runs of Weir on this machine while a cell is measured: they take processor time, memory
//! and bandwidth that its figures then lack.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_deploy::other_runs;

/// Pause between two looks, in naps.
const NAPS: u32 = 20;
/// How late the end of a load is noticed.
const NAP: Duration = Duration::from_millis(100);

/// Looks until the load is over; one sentence for each process that was there.
pub(crate) fn watch(over: &AtomicBool) -> Vec<String> {
    let mut seen = BTreeSet::new();
    loop {
        seen.extend(other_runs());
        for _ in 0..NAPS {
            if over.load(Ordering::Acquire) {
                seen.extend(other_runs());
                return seen.into_iter().map(note).collect();
            }
            std::thread::sleep(NAP);
        }
    }
}

fn note(pid: u32) -> String {
    format!("another weir run (process {pid}) ran on this machine during this cell")
}
