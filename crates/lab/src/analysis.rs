//! The results of a run: compared, judged against the plan, and written.

use weir_model::Verdict;
use weir_record::{CellStatus, RunFolder};
use weir_report::artifacts;
use weir_report::comparison::Comparison;
use weir_report::results::Results;
use weir_spec::plan::{Cell, Plan};

use crate::error::LabError;
use crate::results::{LeftOut, ReadResults, read};

#[derive(Debug)]
pub struct Analysis<'a> {
    pub results: Results<'a>,
    pub comparison: Comparison,
    pub left_out: Vec<LeftOut>,
}

impl<'a> Analysis<'a> {
    pub fn of(run: &RunFolder, plan: &'a Plan) -> Result<Self, LabError> {
        let ReadResults { mut results, left_out } = read(run, plan)?;
        // The folder's name has the time of day: equal runs would differ in their bytes.
        results.provenance.run.clone_from(&plan.name);
        let comparison = Comparison::of(&results)?;
        Ok(Self { results, comparison, left_out })
    }

    /// Writes `analysis/` and `report/`.
    pub fn write(&self, run: &RunFolder) -> Result<(), LabError> {
        for file in artifacts::analysis(&self.results, &self.comparison)? {
            let name = file.path.trim_start_matches("analysis/");
            run.write_analysis(name, &file.bytes)?;
        }
        for file in artifacts::report(&self.comparison)? {
            let name = file.path.trim_start_matches("report/");
            run.write_report(name, &file.bytes)?;
        }
        Ok(())
    }

    pub fn is_as_predicted(&self) -> bool {
        self.results.cells.iter().all(|result| {
            let cell = &self.results.plan.cells[result.cell];
            is_as_predicted(cell, &result.record.status, &result.verdict())
        })
    }
}

fn is_as_predicted(cell: &Cell, status: &CellStatus, verdict: &Verdict) -> bool {
    match verdict {
        _ if *status != CellStatus::Complete => false,
        Verdict::Failed(_) | Verdict::Corrupt | Verdict::Refused => false,
        Verdict::Void(_) => matches!(cell.prediction.verdict, Verdict::Void(_)),
        Verdict::Unverified => cell.prediction.verdict == Verdict::Unverified,
        Verdict::Control | Verdict::Effective | Verdict::OverheadOnly(_) => true,
    }
}
