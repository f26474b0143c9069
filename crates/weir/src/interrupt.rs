//! Ctrl-C: the first stops and keeps what is finished, the second aborts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use weir_deploy::leftovers::{Whose, clear};

/// Time that processes have to end when the user gives up.
const PATIENCE: Duration = Duration::from_secs(4);

/// The run in progress.
static RUN: OnceLock<String> = OnceLock::new();

/// Set once the user wants to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens for Ctrl-C.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let interrupt = Self::default();
        let flag = interrupt.clone();
        ctrlc::set_handler(move || {
            if flag.0.swap(true, Ordering::SeqCst) {
                if let Some(run) = RUN.get() {
                    // Nothing that was brought up stays, not even after this.
                    let _ = clear(&Whose::Run(run.clone()), PATIENCE);
                }
                // Cells in flight have no `cell.json` yet: a resume runs them again.
                std::process::abort();
            }
        })
        .map_err(|error| anyhow::anyhow!("cannot listen for Ctrl-C: {error}"))?;
        Ok(interrupt)
    }

    /// Names the run whose processes a second Ctrl-C takes down.
    pub(crate) fn take_down(run: &str) {
        // A second run of one process has the same handler, and keeps the first's name: there is
        // none.
        let _ = RUN.set(run.to_owned());
    }

    /// True after the first Ctrl-C.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
