//! `weir probe`: a tier's figures with KV-shaped transfers, and the parts of its time.

mod against;
mod asked;
mod engine;
mod outputs;
mod plots;
mod summary;
mod warnings;

use std::time::Instant;

use weir_probe::report::{REPORT_FORMAT, Report};
use weir_probe::session::ProbeStep;
use weir_probe::{ProbeConfig, ProbeMeasurements, ProbeSession};

use self::asked::Asked;
use self::outputs::Outputs;
use crate::cli::ProbeArgs;
use crate::exit::Exit;
use crate::interrupt::{Interrupt, Waiting};
use crate::printer::Printer;
use crate::progress::Counter;

pub(crate) fn run(args: &ProbeArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    if let Some(second) = &args.against.against {
        return against::run(args, second, printer);
    }
    let asked = asked::asked(args, None)?;
    outputs::check(args, &asked.config)?;
    let differential = !args.points.no_differential;
    // Before the measurement, which must not end in an unwritable file.
    let outputs = Outputs::tried(&args.outputs)?;
    if args.dry_run {
        weir_probe::subject::check(&asked.target, &asked.options, &asked.config)?;
        printer.result(&summary::planned(&asked, differential))?;
        return Ok(Exit::Done);
    }
    // Before a server starts, so that it is stopped and its folder removed.
    let interrupt = Interrupt::listen(Waiting::Point, printer.is_quiet())?;
    let mut subject = weir_probe::subject(&asked.target, &asked.options)?;
    let started = weir_lab::host::now();
    let total = ProbeSession::steps(&asked.config, differential);
    let progress = Counter::of("runs", total, printer, false);
    let stop = || interrupt.is_set();
    let began = Instant::now();
    let mut step = |step: ProbeStep<'_>| tell(step, (&asked.config, began), &progress, printer);
    let session = ProbeSession::new(
        &asked.config,
        &mut *subject,
        &asked.traces,
        differential,
        &stop,
        &mut step,
    );
    let measured = session.run();
    progress.finish();
    let mut report = report(&asked, measured?, subject.facts(), started);
    let fitted = report.fit_link();
    report.warnings.extend(warnings::of(&report, &asked.config));
    printer.result(&summary::of(&report))?;
    outputs.write(&report, fitted, printer)?;
    Ok(exit(&report.measured, printer))
}

fn tell(
    step: ProbeStep<'_>,
    (config, began): (&ProbeConfig, Instant),
    progress: &Counter,
    printer: &mut Printer,
) {
    if step.done > 0 {
        progress.one_done(step.next, printer);
    } else {
        // The tier is open: its time counts from here.
        printer.note(&summary::announced(config, step.expected, began.elapsed()));
        progress.begins(step.expected);
        progress.now(step.next);
    }
}

fn report(
    asked: &Asked,
    measured: ProbeMeasurements,
    tier: weir_probe::TierFacts,
    started: String,
) -> Report {
    Report {
        format: REPORT_FORMAT,
        weir: env!("CARGO_PKG_VERSION").to_owned(),
        command: summary::command(),
        started,
        warnings: tier.warnings.clone(),
        tier,
        model: asked.model.clone(),
        recompute: asked.recompute.clone(),
        trace_best_hit_share: asked.traces.first().map(|(_, trace)| trace.best_hit_share()),
        measured,
        link: None,
        fit: None,
    }
}

fn exit(measured: &ProbeMeasurements, printer: &mut Printer) -> Exit {
    if let Some(why) = &measured.failed {
        printer.note(&format!("ended early: {why}"));
        return Exit::DoneWithFaults;
    }
    if measured.interrupted {
        printer.note(if measured.points.is_empty() {
            "interrupted before a point had ended"
        } else {
            "interrupted; points that had ended are kept"
        });
        return Exit::DoneWithFaults;
    }
    let is_faulty = measured.points.iter().any(|result| {
        let outcomes = &result.outcomes;
        outcomes.failed() + outcomes.full + outcomes.corrupt + outcomes.wrong > 0
    });
    if is_faulty { Exit::DoneWithFaults } else { Exit::Done }
}
