//! `weir run`: plan, run what is missing, judge, compare, write the report.

use std::path::{Path, PathBuf};

use weir_deploy::leftovers::run_id;
use weir_lab::{Ended, Forecast, LabError, Planned, folder, host};
use weir_record::RunFolder;
use weir_report::terminal;
use weir_spec::Plan;

use crate::cli::{ExperimentArgs, RunArgs};
use crate::exit::{Exit, Mistake};
use crate::forecast::forecast_words;
use crate::interrupt::{Interrupt, Waiting};
use crate::overview::overview;
use crate::planned::planned;
use crate::printer::Printer;
use crate::results::conclude;
use crate::run_progress::RunProgress;

pub(crate) fn run(args: &RunArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    if args.dry_run {
        printer.result(&overview(&planned(&args.experiment)?.plan))?;
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
    let forecast = forecast_words(&Forecast::of(&plan, jobs));
    printer.note(&format!("{}: {cells} cells; {forecast}", plan.name));
    for warning in &plan.warnings {
        printer.note(&format!("warning: {warning}"));
    }
    if plan.target.local().is_some() {
        Interrupt::take_down(&run_id(run.path()));
    }
    let progress = RunProgress::new(interrupt, printer.is_quiet());
    let Ended { sweep, analysis } =
        weir_lab::run(&plan, &run, jobs, None, &progress, progress.stop())?;
    let exit = conclude(&run, &analysis, &terminal::summary(&analysis.comparison), printer)?;
    if sweep.is_stopped {
        let folder = run.path().display();
        printer.note(&format!("interrupted; `weir run --resume {folder}` finishes the rest"));
        return Ok(Exit::DoneWithFaults);
    }
    Ok(exit)
}

fn created(args: &RunArgs) -> Result<(RunFolder, Plan), LabError> {
    let Planned { text, mut plan } = planned(&args.experiment)?;
    // The error names what a run folder's file lacks.
    plan.check_complete()?;
    plan.salt_prompts(host::nonce());
    let path = args.out.clone().unwrap_or_else(|| {
        let name: String =
            plan.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        PathBuf::from("runs").join(format!("{name}-{}", host::stamp()))
    });
    let run = folder::create(&path, &weir_spec::recorded_text(&text), &plan)?;
    Ok((run, plan))
}

/// The run's own plan; a given FILE must resolve to the same.
fn resumed(path: &Path, args: &ExperimentArgs) -> anyhow::Result<(RunFolder, Plan)> {
    let given = match args.file {
        Some(_) => Some(planned(args)?.plan),
        None if args.sets.is_empty() => None,
        None => {
            let message =
                "--set changes the plan, and a resumed run keeps its own; start a new run";
            return Err(Mistake(message.to_owned()).into());
        }
    };
    Ok(folder::resume(path, given)?)
}
