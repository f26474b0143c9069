use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use weir_record::{CellReader, CellTables, RecordError, RunFolder};
use weir_report::likeness;
use weir_report::oracle;
use weir_report::precision;
use weir_report::results::{CellResult, Provenance, Results};
use weir_spec::plan::Plan;

use crate::error::LabError;
use crate::live::Journal;
use crate::recorded::Recorded;

#[derive(Debug)]
pub struct ReadResults<'a> {
    pub results: Results<'a>,
    pub left_out: Vec<LeftOut>,
}

/// A cell without a result: one of its files is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    pub cell: String,
    pub file: PathBuf,
    pub why: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.cell, self.file.display(), self.why)
    }
}

pub fn read<'a>(run: &RunFolder, plan: &'a Plan) -> Result<ReadResults<'a>, LabError> {
    let mut left_out = Vec::new();
    let mut cells = Vec::new();
    // Of each result, for checks over several cells.
    let mut tables = Vec::new();
    for (index, cell) in plan.cells.iter().enumerate() {
        // Opening verifies all of the cell's files: once is enough.
        let reader = match CellReader::open(run, &cell.path) {
            Ok(reader) => reader,
            Err(RecordError::Incomplete { .. }) => continue,
            Err(RecordError::Damaged { path, why }) => {
                left_out.push(LeftOut { cell: cell.path.clone(), file: path, why });
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
            answers: None,
            unlike: Vec::new(),
            corrupt: None,
            inexact: Vec::new(),
        });
        tables.push(reader.tables().clone());
    }
    if plan.target.live().is_some() {
        oracle::compare_answers(plan, &tables, &mut cells)?;
    }
    let mut versions = BTreeMap::new();
    versions.insert("weir".to_owned(), run.header().weir.clone());
    if plan.target.local().is_some() {
        add_started(&tables, &mut versions);
    }
    let name = run.path().file_name().map_or_else(
        || run.path().display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    );
    let plan_hash = run.header().plan_hash.clone();
    let provenance = Provenance { run: name, plan_hash, versions };
    let mut results = Results { plan, provenance, cells };
    // First: answers of other engines say nothing of stored blocks.
    likeness::judge(&mut results);
    oracle::judge(&mut results);
    precision::judge(&mut results);
    Ok(ReadResults { results, left_out })
}

/// Versions of what cells started; several of one package are all named.
fn add_started(tables: &[CellTables], versions: &mut BTreeMap<String, String>) {
    // A cell that failed at start has no journal.
    let journals = tables.iter().filter_map(|tables| Journal::read(tables.folder()).ok());
    let mut known: BTreeMap<String, Vec<String>> =
        versions.iter().map(|(package, of)| (package.clone(), vec![of.clone()])).collect();
    for started in journals.filter_map(|journal| journal.started) {
        for (package, version) in started.versions {
            let of_package = known.entry(package).or_default();
            if !of_package.contains(&version) {
                of_package.push(version);
            }
        }
    }
    versions.extend(known.into_iter().map(|(package, of)| (package, of.join(", "))));
}
