//! A live cell: run by its protocol, watched, and stopped by the user.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_load::Live;
use weir_record::CellWriter;
use weir_spec::plan::{Cell, Plan};
use weir_trial::Phase;

use crate::cell::Ran;
use crate::interrupt::Interrupt;
use crate::view::View;

/// How often the load is looked at. Seldom, because the one who looks takes processor time away.
const LOOK: Duration = Duration::from_millis(250);

/// Measures a cell into its tables. Nothing when it was interrupted.
pub(crate) fn measure(
    plan: &Plan,
    cell: &Cell,
    writer: &mut CellWriter,
    interrupt: &Interrupt,
    quiet: bool,
) -> anyhow::Result<Option<Ran>> {
    let level = &plan.deployments[cell.deployment].levels[cell.level];
    let live = Live::new();
    let over = AtomicBool::new(false);
    let view = View::new(&cell.path, level, quiet);
    let trial = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                if interrupt.is_set() {
                    live.stop();
                }
                view.show(&live.snapshot());
                std::thread::sleep(LOOK);
            }
        });
        let mut phase = |phase: Phase| view.phase(phase);
        let trial = weir_trial::run(plan, cell, writer, &live, &mut phase);
        over.store(true, Ordering::Release);
        trial
    });
    view.finish();
    let trial = trial?;
    if interrupt.is_set() {
        return Ok(None);
    }
    Ok(Some(Ran {
        signals: trial.signals,
        skipped: trial.skipped,
        truncated: trial.truncated,
        contradiction: trial.load.certificate.refused.clone().map(|why| {
            format!(
                "the load generator was the limit, so this says nothing about the server: {why}"
            )
        }),
        certificate: Some(trial.load.certificate),
        notes: trial.notes,
    }))
}
