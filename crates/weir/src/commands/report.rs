//! `weir report`: rewrites a run's report from its cells, optionally with a simulated run beside
//! it.

use std::path::Path;

use weir_lab::Analysis;
use weir_record::RunFolder;
use weir_report::comparison::{PredictionComparison, compare_prediction};
use weir_report::results::Results;
use weir_report::terminal;
use weir_spec::Plan;
use weir_spec::plan::Target;

use crate::cli::ReportArgs;
use crate::exit::{Exit, Mistake};
use crate::printer::Printer;
use crate::results::{conclude, read_as};

pub(crate) fn run(args: &ReportArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let run = RunFolder::open_read_only(&args.run)?;
    let plan: Plan = run.plan()?;
    if args.prediction.is_some() {
        check(&run, &plan, args.tolerance)?;
    }
    let mut analysis = Analysis::of(&run, &plan)?;
    if let Some(folder) = &args.prediction {
        let prediction = predicted(&analysis.results, folder, args.tolerance, printer)?;
        analysis.comparison.prediction = Some(prediction);
    }
    analysis.write(&run)?;
    conclude(&run, &analysis, &terminal::summary(&analysis.comparison), printer)
}

/// Refuses a run or a tolerance that measures no prediction.
fn check(run: &RunFolder, plan: &Plan, tolerance: f64) -> Result<(), Mistake> {
    if plan.target.live().is_none() {
        return Err(Mistake(format!(
            "{}: a simulated run cannot be measured against a prediction; give the live run first \
             and the simulated one as --prediction",
            run.path().display()
        )));
    }
    if !(0.0..=100.0).contains(&tolerance) {
        return Err(Mistake(format!("--tolerance {tolerance}: write percent from 0 to 100")));
    }
    Ok(())
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
    let predicted = read_as("left out of the prediction", &run, &plan, printer)?;
    Ok(compare_prediction(&predicted, measured, tolerance)?)
}
