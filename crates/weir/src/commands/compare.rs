use weir_record::RunFolder;
use weir_report::comparison::compare_runs;
use weir_report::tables::run_notes;
use weir_report::{files, terminal};
use weir_spec::Plan;

use crate::cli::CompareArgs;
use crate::exit::Exit;
use crate::printer::Printer;
use crate::results;

pub(crate) fn run(args: &CompareArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let runs = [RunFolder::open_read_only(&args.first)?, RunFolder::open_read_only(&args.second)?];
    let plans: [Plan; 2] = [runs[0].plan()?, runs[1].plan()?];
    let first = results::read(&runs[0], &plans[0], printer)?;
    let second = results::read(&runs[1], &plans[1], printer)?;
    let comparison = compare_runs(&first, &second)?;
    if args.csv {
        for note in run_notes(&comparison) {
            printer.note(&note);
        }
        printer.result(&String::from_utf8(files::runs_csv(&comparison)?)?)?;
    } else {
        printer.result(&terminal::runs(&comparison, args.least))?;
    }
    Ok(Exit::Done)
}
