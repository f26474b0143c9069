//! `weir load`: load on a server, and its measured answers.

mod agents;
mod asked;
mod exports;
mod search;
mod summary;
mod working_set;

use std::path::PathBuf;

use weir_field::Field;
use weir_lab::{Analysis, Forecast, folder, host, run_cell};
use weir_record::{CellState, CellStatus, RunFolder};
use weir_spec::{Experiment, Plan};

use self::agents::Several;
use self::exports::Wanted;
use self::search::{Search, bisect};
use self::working_set::WorkingSets;
use crate::cli::LoadArgs;
use crate::exit::Exit;
use crate::forecast::forecast_words;
use crate::interrupt::{Interrupt, Waiting};
use crate::printer::Printer;
use crate::results::conclude;
use crate::run_progress::RunProgress;

pub(crate) fn run(args: &LoadArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    // All errors in the arguments come before the first request.
    let search = Search::of(args)?;
    let wanted = Wanted::parse(&args.formats)?;
    let target = asked::target(args)?;
    let served = asked::discover(&target, asked::request_timeout(args))?;
    let experiment = Experiment::of(asked::spec(args, target, &served, search.as_ref())?);
    let mut plan = Plan::resolve(&experiment)?;
    let sets = WorkingSets::of(&experiment.spec, &plan);
    let several = Several::of(&args.several)?;
    if let Some(several) = &several {
        several.check(&plan)?;
    }
    if args.dry_run {
        printer.result(&summary::planned(&plan, sets.as_ref(), several.as_ref()))?;
        return Ok(Exit::Done);
    }
    plan.salt_prompts(host::nonce());
    let interrupt = Interrupt::listen(Waiting::Cells, printer.is_quiet())?;
    let field = several.map(|several| several.field(&interrupt, printer)).transpose()?;
    let path = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from("runs").join(format!("load-{}", host::stamp())));
    let run = folder::create(&path, &weir_spec::recorded_spec(&experiment.spec), &plan)?;
    printer.note(&format!("{}; {}", served.model, forecast_words(&Forecast::of(&plan, 1))));
    let progress = RunProgress::new(interrupt.clone(), printer.is_quiet());
    let (analysis, found) = match &search {
        None => (
            weir_lab::run(&plan, &run, 1, field.as_ref(), &progress, progress.stop())?.analysis,
            None,
        ),
        Some(search) => {
            let found = searched((&run, &plan), search, field.as_ref(), &progress, printer)?;
            let analysis = Analysis::of(&run, &plan)?;
            analysis.write(&run)?;
            (analysis, Some(found))
        }
    };
    let words = summary::of(&analysis.results, &analysis.comparison, sets.as_ref());
    let exit = conclude(&run, &analysis, &words, printer)?;
    printer.result(&format!(
        "`weir explain {}` says of each level where tokens came from, and who says so.\n",
        run.path().display()
    ))?;
    if let (Some(found), Some(search)) = (found, &search) {
        printer.result(&summary::found(&plan, found, search.share()))?;
    }
    wanted.write(&run, &plan, printer)?;
    if interrupt.is_set() {
        printer.note("interrupted; levels that had ended are kept");
        return Ok(Exit::DoneWithFaults);
    }
    Ok(exit)
}

/// Runs the levels of a bisection; the index of the last one that met the objectives.
fn searched(
    (run, plan): (&RunFolder, &Plan),
    search: &Search,
    field: Option<&Field>,
    progress: &RunProgress,
    printer: &mut Printer,
) -> anyhow::Result<Option<usize>> {
    let levels = plan.deployments[0].levels.len();
    bisect(levels, |level| {
        let mut met = true;
        for cell in plan.cells.iter().filter(|cell| cell.level == level) {
            if !run_cell(run, plan, cell, field, progress, progress.stop())? {
                return Ok(None);
            }
            let CellState::Complete(record) = run.cell_state(&cell.path)? else { return Ok(None) };
            met &= record.status == CellStatus::Complete && search.is_met(&record.figures);
        }
        let name = &plan.deployments[0].levels[level].name;
        let verdict = if met { "meets the objectives" } else { "does not meet them" };
        printer.note(&format!("{name} {verdict}"));
        Ok(Some(met))
    })
}
