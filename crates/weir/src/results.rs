use weir_lab::results::{LeftOut, ReadResults};
use weir_lab::{Analysis, LabError};
use weir_record::RunFolder;
use weir_report::results::Results;
use weir_spec::Plan;

use crate::exit::Exit;
use crate::printer::Printer;

/// Damaged cells are left out with a message.
pub(crate) fn read<'a>(
    run: &RunFolder,
    plan: &'a Plan,
    printer: &mut Printer,
) -> Result<Results<'a>, LabError> {
    read_as("left out", run, plan, printer)
}

/// The same; `words` begin the message.
pub(crate) fn read_as<'a>(
    words: &str,
    run: &RunFolder,
    plan: &'a Plan,
    printer: &mut Printer,
) -> Result<Results<'a>, LabError> {
    let ReadResults { results, left_out } = weir_lab::results::read(run, plan)?;
    note(words, &left_out, printer);
    Ok(results)
}

fn note(words: &str, left_out: &[LeftOut], printer: &mut Printer) {
    for cell in left_out {
        printer.note(&format!("{words}: {cell}"));
    }
}

pub(crate) fn conclude(
    run: &RunFolder,
    analysis: &Analysis<'_>,
    summary: &str,
    printer: &mut Printer,
) -> anyhow::Result<Exit> {
    note("left out", &analysis.left_out, printer);
    printer.result(summary)?;
    let report = run.path().join("report").join("report.html");
    printer.result(&format!("\nReport: {}\n", report.display()))?;
    Ok(if analysis.is_as_predicted() { Exit::Done } else { Exit::DoneWithFaults })
}
