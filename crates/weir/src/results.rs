//! Results of a run folder, and everything that is written from them.

use std::collections::BTreeMap;

use weir_record::{CellReader, RecordError, RunFolder};
use weir_report::artifacts;
use weir_report::comparison::Comparison;
use weir_report::results::{CellResult, Provenance, Results};
use weir_spec::plan::Plan;

use crate::recorded::Recorded;

/// Reads what has been run. Cells that are damaged are left out, with the reason.
pub(crate) fn read<'a>(
    run: &RunFolder,
    plan: &'a Plan,
) -> anyhow::Result<(Results<'a>, Vec<String>)> {
    let mut cells = Vec::new();
    let mut left_out = Vec::new();
    for (index, cell) in plan.cells.iter().enumerate() {
        // Opening verifies all of the cell's files: once is enough.
        let reader = match CellReader::open(run, &cell.path) {
            Ok(reader) => reader,
            Err(RecordError::Incomplete { .. }) => continue,
            Err(RecordError::Damaged { path, why }) => {
                left_out.push(format!("{}: {}: {why}", cell.path, path.display()));
                continue;
            }
            Err(other) => return Err(other.into()),
        };
        let recorded = Recorded::read(plan, cell, reader.tables())?;
        cells.push(CellResult {
            cell: index,
            record: reader.record().clone(),
            evidence: reader.evidence()?,
            throughput_batches: recorded.throughput_batches(),
        });
    }
    let mut versions = BTreeMap::new();
    versions.insert("weir".to_owned(), run.header().weir.clone());
    let name = run.path().file_name().map_or_else(
        || run.path().display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    );
    let plan_hash = run.header().plan_hash.clone();
    let provenance = Provenance { run: name, plan_hash, versions };
    Ok((Results { plan, provenance, cells }, left_out))
}

/// Writes `analysis/` and `report/`.
pub(crate) fn write(
    run: &RunFolder,
    results: &Results<'_>,
    comparison: &Comparison,
) -> anyhow::Result<()> {
    for file in artifacts::analysis(results, comparison)? {
        let name = file.path.trim_start_matches("analysis/");
        run.write_analysis(name, &file.bytes)?;
    }
    for file in artifacts::report(comparison)? {
        let name = file.path.trim_start_matches("report/");
        run.write_report(name, &file.bytes)?;
    }
    Ok(())
}
