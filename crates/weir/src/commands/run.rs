//! `weir run`: plan, run what is missing, judge, compare, write the report.

use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_deploy::Presence;
use weir_deploy::leftovers::{Whose, clear, run_id};
use weir_deploy::local::preflight;
use weir_record::{RunFolder, RunSource};
use weir_report::comparison::Comparison;
use weir_report::results::Results;
use weir_report::terminal;
use weir_spec::Plan;

use crate::cli::{ExperimentArgs, RunArgs};
use crate::commands::plan;
use crate::exit::{Exit, Mistake};
use crate::forecast::Forecast;
use crate::host;
use crate::interrupt::{Interrupt, Waiting};
use crate::planned::{Planned, check_stores, planned};
use crate::printer::Printer;
use crate::results;
use crate::sweep::{is_surprising, run_missing};

/// Time that processes of a dead run have to end.
const CLEARING: Duration = Duration::from_secs(20);

pub(crate) fn run(args: &RunArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    if args.dry_run {
        printer.result(&plan::overview(&planned(&args.experiment)?.plan))?;
        return Ok(Exit::Done);
    }
    if args.jobs == Some(0) {
        let message = "--jobs 0: no cell would ever run; write 1 or more, or leave it out";
        return Err(Mistake(message.to_owned()).into());
    }
    let interrupt = Interrupt::listen(Waiting::Cells, printer.is_quiet())?;
    let (run, plan) = match &args.resume {
        Some(folder) => resumed(folder, &args.experiment)?,
        None => created(args)?,
    };
    let cells = plan.cells.len();
    let jobs = args.jobs.unwrap_or_else(host::cores);
    let forecast = Forecast::of(&plan, jobs);
    printer.note(&format!("{}: {cells} cells; {}", plan.name, forecast.words()));
    for warning in &plan.warnings {
        printer.note(&format!("warning: {warning}"));
    }
    if plan.target.starts_processes() {
        prepare(&run, &plan, printer)?;
    }
    // Of a live cell others are told while it lasts; what is simulated takes all processors.
    let id = run_id(run.path());
    let presence = (!plan.target.is_live()).then(|| Presence::show(&id)).transpose();
    let outcome = run_missing(&run, &plan, jobs, &interrupt, printer)?;
    drop(presence);
    for damaged in &outcome.repaired {
        printer.note(&format!("ran again: {damaged}"));
    }
    if outcome.kept > 0 {
        printer.note(&format!("kept {} finished cells, ran {}", outcome.kept, outcome.ran));
    }
    let exit = conclude(&run, &plan, printer)?;
    if outcome.interrupted {
        let folder = run.path().display();
        printer.note(&format!("interrupted; `weir run --resume {folder}` finishes the rest"));
        return Ok(Exit::DoneWithFaults);
    }
    Ok(exit)
}

/// Looks what is installed, and clears what runs before left on this machine.
fn prepare(run: &RunFolder, plan: &Plan, printer: &mut Printer) -> anyhow::Result<()> {
    for what in clear(&Whose::DeadOwners, CLEARING)? {
        printer.note(&format!("a run before had left {what}: removed"));
    }
    if let Some(stack) = preflight(plan)? {
        printer.note(&stack.words());
    }
    Interrupt::take_down(&run_id(run.path()));
    Ok(())
}

/// Compares what has run, writes everything, prints the summary.
pub(crate) fn conclude(
    run: &RunFolder,
    plan: &Plan,
    printer: &mut Printer,
) -> anyhow::Result<Exit> {
    analyse(run, plan, printer, |_, comparison| terminal::summary(comparison))
}

/// The same with a summary of the caller's.
pub(crate) fn analyse(
    run: &RunFolder,
    plan: &Plan,
    printer: &mut Printer,
    summary: impl Fn(&Results<'_>, &Comparison) -> String,
) -> anyhow::Result<Exit> {
    let mut results = results::read(run, plan, printer)?;
    // The folder's name carries the time of day: with it, equal runs would differ in their bytes.
    results.provenance.run.clone_from(&plan.name);
    let comparison = Comparison::of(&results)?;
    results::write(run, &results, &comparison)?;
    printer.result(&summary(&results, &comparison))?;
    let report = run.path().join("report").join("report.html");
    printer.result(&format!("\nReport: {}\n", report.display()))?;
    Ok(verdict_exit(plan, &results))
}

/// How a run ends whose cells are these.
pub(crate) fn verdict_exit(plan: &Plan, results: &Results<'_>) -> Exit {
    let surprising = results.cells.iter().any(|result| {
        is_surprising(&plan.cells[result.cell], &result.record.status, &result.verdict())
    });
    if surprising { Exit::DoneWithFaults } else { Exit::Done }
}

fn created(args: &RunArgs) -> anyhow::Result<(RunFolder, Plan)> {
    let Planned { text, mut plan } = planned(&args.experiment)?;
    plan.salt_prompts(host::nonce());
    let folder = args.out.clone().unwrap_or_else(|| {
        let name: String =
            plan.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        PathBuf::from("runs").join(format!("{name}-{}", host::stamp()))
    });
    let hash = plan.plan_hash();
    let (text, recorded) = (weir_spec::recorded_text(&text), plan.recorded());
    let run = RunFolder::create(
        &folder,
        RunSource::Experiment(&text),
        &recorded,
        &hash,
        &host::environment(),
    )?;
    Ok((run, plan))
}

/// The run's own plan; a FILE given beside it must resolve to the same.
fn resumed(folder: &Path, args: &ExperimentArgs) -> anyhow::Result<(RunFolder, Plan)> {
    let recorded: Plan = RunFolder::open_read_only(folder)?.plan()?;
    // A plan that is the same may find its files elsewhere.
    let plan = match args.file {
        Some(_) => Plan { salt: recorded.salt, ..planned(args)?.plan },
        None => recorded,
    };
    if args.file.is_none() && !args.sets.is_empty() {
        let message = "--set changes the plan, and a resumed run keeps its own; start a new run";
        return Err(Mistake(message.to_owned()).into());
    }
    plan.check_inputs()?;
    // Of one hash, a file's plan and the recorded one differ at most in what is not recorded.
    plan.check_complete()?;
    check_stores(&plan)?;
    let run = RunFolder::resume(folder, &plan.plan_hash())?;
    Ok((run, plan))
}
