//! Watches the started parts during the load: a dead or silent part ends the cell at once, with
//! the cause.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weir_deploy::Site;
use weir_load::Live;
use weir_model::{Nanos, Stalled};

use crate::live::error::LiveError;

/// Costs a few reads of `/proc`.
const LOOK: Duration = Duration::from_millis(250);
/// A death needs time to show in the logs and the supervising process.
const SETTLE: Duration = Duration::from_secs(1);

/// The fault that ended the load, if any. `stall` is the longest time with requests in flight and
/// no event from the server.
pub(crate) fn watch(
    site: &Site,
    live: &Live,
    over: &AtomicBool,
    stall: Nanos,
) -> Option<LiveError> {
    if !site.has_processes() {
        return None;
    }
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
    // A death that no check has found yet may have failed the requests.
    site.check_last().err().map(LiveError::Deploy)
}

/// Refuses a load with failed requests on processes of Weir's: no other client was there, and the
/// rest is another load. A standstill that names its part says more.
pub(crate) fn answered(
    failures: &[String],
    stalls: &[Stalled],
    site: &Site,
) -> Result<(), LiveError> {
    let is_told = stalls.iter().any(Stalled::names_a_part);
    if !site.has_processes() || failures.is_empty() || is_told {
        return Ok(());
    }
    Err(LiveError::Requests { causes: failures.join("; ") })
}
