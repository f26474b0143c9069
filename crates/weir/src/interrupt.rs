//! Ctrl-C: the first stops and keeps what is finished, the second ends at once.

use std::process::exit;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use weir_deploy::leftovers::{Whose, clear, remove_held};
use weir_lab::{Phase, Stop};
use weir_model::Nanos;

use crate::printer::Printer;

/// For processes after the second Ctrl-C.
const PATIENCE: Duration = Duration::from_secs(4);
/// Shells' code for Ctrl-C: 128 and the number of the signal.
const ENDED_BY_CTRL_C: i32 = 130;

static RUN: OnceLock<String> = OnceLock::new();

#[derive(Debug, Clone, Copy)]
pub(crate) enum Waiting {
    /// Simulated cells, which stop at their next event.
    Cells,
    /// A phase of a live cell, of which nothing is kept.
    Live(Phase),
    Point,
    /// Answers of a server, with their time limit.
    Answers(Nanos),
}

impl Waiting {
    fn words(self) -> String {
        match self {
            Self::Cells => "the cells under way stop".to_owned(),
            Self::Live(Phase::BringUp) => "what is being started is stopped again".to_owned(),
            Self::Live(Phase::WarmUp | Phase::Flush | Phase::Load) => {
                "requests in flight are given up".to_owned()
            }
            Self::Live(Phase::Collect) => "the results of the cell are read".to_owned(),
            Self::Live(Phase::TakeDown) => "what was started is stopped".to_owned(),
            Self::Point => "the point being measured ends".to_owned(),
            Self::Answers(grace) => format!("open answers end, for at most {grace}"),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    stop: Stop,
    waiting: Arc<Mutex<Waiting>>,
}

impl Interrupt {
    /// `waiting` is what the first Ctrl-C waits for, until changed; printed unless `quiet`.
    pub(crate) fn listen(waiting: Waiting, quiet: bool) -> anyhow::Result<Self> {
        Self::listen_and(waiting, quiet, || {})
    }

    /// The same, with a further action at the first Ctrl-C.
    pub(crate) fn listen_and(
        waiting: Waiting,
        quiet: bool,
        mut stop: impl FnMut() + Send + 'static,
    ) -> anyhow::Result<Self> {
        let interrupt = Self { stop: Stop::default(), waiting: Arc::new(Mutex::new(waiting)) };
        let here = interrupt.clone();
        ctrlc::set_handler(move || {
            if !here.stop.ask() {
                if let Some(run) = RUN.get() {
                    // Started processes end even now.
                    let _ = clear(&Whose::Run(run.clone()), PATIENCE);
                }
                remove_held();
                // Cells in flight have no `cell.json` yet: a resume runs them again.
                exit(ENDED_BY_CTRL_C);
            }
            stop();
            let waiting = *here.waiting.lock();
            Printer::new(quiet)
                .note(&format!("stopping once {}; Ctrl-C again ends it at once", waiting.words()));
        })
        .map_err(|error| anyhow::anyhow!("cannot listen for Ctrl-C: {error}"))?;
        Ok(interrupt)
    }

    pub(crate) fn waits_for(&self, waiting: Waiting) {
        *self.waiting.lock() = waiting;
    }

    /// The second Ctrl-C ends the run's processes.
    pub(crate) fn take_down(run: &str) {
        // The handler keeps the first run's name; a process has no second run.
        let _ = RUN.set(run.to_owned());
    }

    pub(crate) const fn stop(&self) -> &Stop {
        &self.stop
    }

    pub(crate) fn is_set(&self) -> bool {
        self.stop.is_asked()
    }
}
