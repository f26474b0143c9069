//! Ctrl-C: the first stops and keeps what is finished, the second aborts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
                // Cells in flight have no `cell.json` yet: a resume runs them again.
                std::process::abort();
            }
        })
        .map_err(|error| anyhow::anyhow!("cannot listen for Ctrl-C: {error}"))?;
        Ok(interrupt)
    }

    /// True after the first Ctrl-C.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
