//! Looks after what was brought up while the load runs: a part that dies, or answers no more, ends
//! the cell at once, with the cause, instead of filling its rows with errors.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weir_deploy::Site;
use weir_load::Live;
use weir_model::Nanos;

use crate::live::error::LiveError;
use crate::live::sink::Rows;

/// How often the parts are looked at: a few reads of `/proc`.
const LOOK: Duration = Duration::from_millis(250);
/// Time for a death to show in the logs, and in the process that supervises it.
const SETTLE: Duration = Duration::from_secs(1);

/// Watches until the load is over; the fault that ended it, if one did. `stall` is how long
/// requests may be in flight without a single event from the server.
pub(crate) fn watch(
    site: &Site,
    live: &Live,
    over: &AtomicBool,
    stall: Nanos,
) -> Option<LiveError> {
    site.processes()?;
    let stall = Duration::from_nanos(stall.0);
    let (mut events, mut since) = (0, Instant::now());
    while !over.load(Ordering::Acquire) {
        std::thread::sleep(LOOK);
        let now = live.snapshot();
        let ended = now.done + now.failed + now.unfinished;
        if now.in_flight == 0 || now.events + ended != events {
            (events, since) = (now.events + ended, Instant::now());
        }
        let fault = match site.check() {
            Err(_) => {
                std::thread::sleep(SETTLE);
                site.check().err().map(LiveError::Deploy)
            }
            Ok(()) if since.elapsed() > stall => {
                Some(LiveError::Hang { requests: now.in_flight, after: since.elapsed().as_secs() })
            }
            Ok(()) => None,
        };
        if fault.is_some() {
            live.abort();
            return fault;
        }
    }
    // Requests may have failed because of a death that nobody saw yet.
    site.check().err().map(LiveError::Deploy)
}

/// Refuses a load on processes of ours of which requests failed: nobody else was there, so their
/// failure is theirs, and what is left is not what was asked.
pub(crate) fn answered(rows: &Rows<'_>, site: &Site) -> Result<(), LiveError> {
    let failures = rows.failures();
    if site.processes().is_none() || failures.is_empty() {
        return Ok(());
    }
    Err(LiveError::Requests { causes: failures.join("; ") })
}
