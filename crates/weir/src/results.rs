//! Results that commands read back, and how those end that conclude a run.

use weir_lab::results::{LeftOut, ReadResults};
use weir_lab::{Analysis, LabError};
use weir_record::RunFolder;
use weir_report::results::Results;
use weir_spec::Plan;

use crate::exit::Exit;
use crate::printer::Printer;

/// Reads what has been run. Cells that are damaged are left out, and the user is told why.
pub(crate) fn read<'a>(
    run: &RunFolder,
    plan: &'a Plan,
    printer: &mut Printer,
) -> Result<Results<'a>, LabError> {
    read_as("left out", run, plan, printer)
}

/// The same, where `words` begin what the user is told.
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

/// Prints the summary of a run and where its report is.
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
