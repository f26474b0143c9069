//! `weir plan`: what would run, what each tier holds, and what to expect of it.

use crate::cli::PlanArgs;
use crate::exit::Exit;
use crate::overview::overview;
use crate::planned::planned;
use crate::printer::Printer;

pub(crate) fn run(args: &PlanArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let plan = planned(&args.experiment)?.plan;
    if args.json {
        printer.result(&serde_json::to_string_pretty(&plan.recorded())?)?;
    } else {
        printer.result(&overview(&plan))?;
    }
    Ok(Exit::Done)
}
