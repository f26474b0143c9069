//! `weir report`: the report of a run folder, written again from its cells.

use weir_record::RunFolder;
use weir_spec::Plan;

use crate::cli::ReportArgs;
use crate::commands::run::conclude;
use crate::exit::Exit;
use crate::printer::Printer;

pub(crate) fn run(args: &ReportArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let run = RunFolder::open_read_only(&args.run)?;
    let plan: Plan = run.plan()?;
    conclude(&run, &plan, printer)
}
