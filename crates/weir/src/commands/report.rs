//! `weir report`: the report of a run folder, written again from its cells; with a simulated run
//! beside it, where one is given.

use std::path::Path;

use weir_record::RunFolder;
use weir_report::comparison::{Comparison, PredictionComparison, compare_prediction};
use weir_report::results::Results;
use weir_report::terminal;
use weir_spec::Plan;
use weir_spec::plan::Target;

use crate::cli::ReportArgs;
use crate::commands::run::{conclude, verdict_exit};
use crate::exit::{Exit, Mistake};
use crate::printer::Printer;
use crate::results;

pub(crate) fn run(args: &ReportArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let run = RunFolder::open_read_only(&args.run)?;
    let plan: Plan = run.plan()?;
    match &args.prediction {
        None => conclude(&run, &plan, printer),
        Some(folder) => beside(&run, &plan, folder, args.tolerance, printer),
    }
}

/// The report with the section that sets a simulated run beside this one.
fn beside(
    run: &RunFolder,
    plan: &Plan,
    folder: &Path,
    tolerance: f64,
    printer: &mut Printer,
) -> anyhow::Result<Exit> {
    if !plan.target.is_live() {
        let message = format!(
            "{}: a simulated run cannot be measured against a prediction; give the live run first \
             and the simulated one as --prediction",
            run.path().display()
        );
        return Err(Mistake(message).into());
    }
    if !(0.0..=100.0).contains(&tolerance) {
        let message = format!("--tolerance {tolerance}: write percent from 0 to 100");
        return Err(Mistake(message).into());
    }
    let mut results = results::read(run, plan, printer)?;
    // As `weir run` calls it: the folder's name carries the time of day.
    results.provenance.run.clone_from(&plan.name);
    let mut comparison = Comparison::of(&results)?;
    comparison.prediction = Some(predicted(&results, folder, tolerance, printer)?);
    results::write(run, &results, &comparison)?;
    printer.result(&terminal::summary(&comparison))?;
    let report = run.path().join("report").join("report.html");
    printer.result(&format!("\nReport: {}\n", report.display()))?;
    Ok(verdict_exit(plan, &results))
}

fn predicted(
    measured: &Results<'_>,
    folder: &Path,
    tolerance: f64,
    printer: &mut Printer,
) -> anyhow::Result<PredictionComparison> {
    let run = RunFolder::open_read_only(folder)?;
    let plan: Plan = run.plan()?;
    let refuse = |problem: &str| Mistake(format!("{}: {problem}", folder.display()));
    if plan.target != Target::Simulated {
        let problem = "not a simulated run; run the same experiment with `--set target=simulated`";
        return Err(refuse(problem).into());
    }
    let shared = |path: &str| plan.cells.iter().any(|cell| cell.path == path);
    if !measured.plan.cells.iter().any(|cell| shared(&cell.path)) {
        let problem = "none of its cells is in the live run; run the same experiment file with \
                       `--set target=simulated`";
        return Err(refuse(problem).into());
    }
    let predicted = results::read_as("left out of the prediction", &run, &plan, printer)?;
    Ok(compare_prediction(&predicted, measured, tolerance)?)
}
