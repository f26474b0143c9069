//! The input of every comparison and output: a plan and the results of its cells.
//!
//! A cell counts when it is complete and its verdict says so. Only this module decides that, and
//! nothing else in this crate reads the figures of a cell that does not count.

mod answers;
mod verdicts;
mod why;

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;
use weir_model::{CheckSetup, FactDifference, FailureReason, Note, Refusal, Remedy, Verdict};
use weir_record::{CellFigures, CellRecord, CellStatus, Evidence};
use weir_spec::plan::{ArmRole, Cell, Deployment, Plan};

pub use answers::{AnswerCount, Corruption};
pub use verdicts::GroupVerdicts;
pub use why::Why;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResultsError {
    #[error("cell {cell} is not in the plan ({cells} cells); the run folder mixes two plans")]
    UnknownCell { cell: usize, cells: usize },
    #[error("the record of cell {cell} is of `{found}`, not `{expected}`; restore its cell.json")]
    OtherPath { cell: usize, expected: String, found: String },
    #[error("cell `{path}` was given twice; keep one of its results")]
    Doubled { path: String },
    #[error("plan.json: cell `{path}` names {what} {index}, which does not exist; plan again")]
    BrokenPlan {
        path: String,
        /// "deployment", "arm" or "level".
        what: &'static str,
        index: usize,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct CellResult {
    /// Index into `Plan::cells`.
    pub cell: usize,
    pub record: CellRecord,
    /// Absent where the cell failed before there was any.
    pub evidence: Option<Evidence>,
    /// Output tokens per second of equal parts of the window (`figures::throughput_batches`), for
    /// an interval within one run; may be empty.
    pub throughput_batches: Vec<f64>,
    /// Live targets: against the control's cell of the same level and repeat; absent for the
    /// control itself and without such a cell.
    pub answers: Option<AnswerCount>,
    /// Differences from its control besides the mechanism, from `likeness::judge`.
    pub unlike: Vec<FactDifference>,
    /// From `oracle::judge`.
    pub corrupt: Option<Corruption>,
    /// Keys of the metrics whose error is not small, from `precision::judge`.
    pub inexact: Vec<&'static str>,
}

/// Measured sets of several cells: the requests that were due in the windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct RequestCounts {
    pub measured: u64,
    pub completed: u64,
    pub failed: u64,
    /// Not ended when their cells ended.
    pub open: u64,
}

/// Why a completed cell has no result, where its requests or its software are the reason.
pub fn without_result(status: &CellStatus, figures: &CellFigures) -> Option<FailureReason> {
    let measured = figures.measured;
    Some(match status {
        CellStatus::Complete | CellStatus::Failed(_) => return None,
        CellStatus::NotComparable(differences) => FailureReason::NotComparable(differences.clone()),
        CellStatus::RequestsFailed { most } => FailureReason::Requests {
            failed: figures.failed,
            measured,
            most: *most,
            commonest: figures.failures.first().cloned(),
        },
        CellStatus::NothingCompleted if measured == 0 => FailureReason::NothingDue,
        CellStatus::NothingCompleted => FailureReason::NothingCompleted { measured },
    })
}

impl CellResult {
    /// Set where the load generator itself was the limit.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.record.figures.certificate.as_ref()?.refused.as_ref()
    }

    /// That of the evidence, unless the cell did not finish, its load generator refused the level,
    /// or its answers were corrupt.
    pub fn verdict(&self) -> Verdict {
        if let Some(why) = without_result(&self.record.status, &self.record.figures) {
            return Verdict::Failed(why);
        }
        match (&self.record.status, &self.evidence) {
            (CellStatus::Failed(failure), _) => {
                Verdict::Failed(FailureReason::Cell(failure.clone()))
            }
            (_, Some(Evidence { verdict: Verdict::Failed(cause), .. })) => {
                Verdict::Failed(cause.clone())
            }
            // Other engines give other answers, which does not show a fault in storage.
            _ if !self.unlike.is_empty() => {
                Verdict::Failed(FailureReason::NotComparable(self.unlike.clone()))
            }
            // Answers do not depend on when requests were sent.
            _ if self.corrupt.is_some() => Verdict::Corrupt,
            _ if self.refusal().is_some() => Verdict::Refused,
            (_, Some(evidence)) => evidence.verdict.clone(),
            (_, None) => Verdict::Unverified,
        }
    }

    /// Its cell ran to its end on its control's software, with requests on time or not.
    pub(crate) fn answers_stand(&self) -> bool {
        self.record.status == CellStatus::Complete && self.unlike.is_empty()
    }

    /// None where no evidence was left.
    pub fn why(&self) -> Option<Why<'_>> {
        if self.is_unlike() {
            return Some(Why::Unlike(&self.unlike));
        }
        match &self.corrupt {
            Some(corruption) if self.verdict() == Verdict::Corrupt => {
                Some(Why::Corrupt(corruption))
            }
            _ => Why::of(self.evidence.as_ref()?),
        }
    }

    pub fn remedy(&self) -> Option<Remedy> {
        match self.verdict() {
            Verdict::Failed(FailureReason::NotComparable(differences)) => {
                Some(Remedy::Alike(why::remedy(&differences)))
            }
            Verdict::Corrupt => Some(Remedy::Check(CheckSetup::Blocks)),
            _ => self.evidence.as_ref()?.remedy,
        }
    }

    /// Whether it does not count because its software differs.
    fn is_unlike(&self) -> bool {
        let unlike = FailureReason::NotComparable(self.unlike.clone());
        !self.unlike.is_empty() && self.verdict() == Verdict::Failed(unlike)
    }

    pub(crate) fn is_not_comparable(&self) -> bool {
        matches!(self.verdict(), Verdict::Failed(FailureReason::NotComparable(_)))
    }

    pub fn notes(&self) -> &[Note] {
        self.evidence.as_ref().map_or(&[], |evidence| &evidence.notes)
    }

    pub fn counts(&self) -> bool {
        self.verdict().counts()
    }
}

/// Holds no times of day: analyses of the same run are equal byte for byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Name of the run, for example its folder's.
    pub run: String,
    /// As in `environment.json`.
    pub plan_hash: String,
    pub versions: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
pub struct Results<'a> {
    pub plan: &'a Plan,
    pub provenance: Provenance,
    /// In any order; cells that have not run are absent.
    pub cells: Vec<CellResult>,
}

impl Results<'_> {
    /// The requests that figures are of: those of cells that count or are shown as bounds, and of
    /// cells that do not count because of their requests.
    pub fn requests(&self) -> RequestCounts {
        let told = self.cells.iter().filter(|result| {
            let record = &result.record;
            let has_reason = without_result(&record.status, &record.figures).is_some();
            result.counts() || has_reason || result.verdict() == Verdict::Refused
        });
        told.fold(RequestCounts::default(), |sum, result| {
            let figures = &result.record.figures;
            RequestCounts {
                measured: sum.measured + figures.measured,
                completed: sum.completed + figures.completed,
                failed: sum.failed + figures.failed,
                open: sum.open + figures.open,
            }
        })
    }

    /// The order of tables: by deployment, level, arm and repeat. A live run has a random order.
    /// All cells must be in the plan.
    pub fn in_order(&self) -> Vec<&CellResult> {
        let mut cells: Vec<&CellResult> = self.cells.iter().collect();
        cells.sort_by_key(|result| {
            let cell = &self.plan.cells[result.cell];
            (cell.deployment, cell.level, cell.arm, cell.repeat)
        });
        cells
    }

    /// Checks that plan and cells fit each other; later stages index freely.
    pub fn check(&self) -> Result<(), ResultsError> {
        for cell in &self.plan.cells {
            check_indices(self.plan, cell)?;
        }
        let mut seen = BTreeSet::new();
        for result in &self.cells {
            let cells = self.plan.cells.len();
            let cell = self
                .plan
                .cells
                .get(result.cell)
                .ok_or(ResultsError::UnknownCell { cell: result.cell, cells })?;
            if result.record.path != cell.path {
                return Err(ResultsError::OtherPath {
                    cell: result.cell,
                    expected: cell.path.clone(),
                    found: result.record.path.clone(),
                });
            }
            if !seen.insert(result.cell) {
                return Err(ResultsError::Doubled { path: cell.path.clone() });
            }
        }
        Ok(())
    }
}

fn check_indices(plan: &Plan, cell: &Cell) -> Result<(), ResultsError> {
    let broken = |what, index| ResultsError::BrokenPlan { path: cell.path.clone(), what, index };
    let deployment = plan
        .deployments
        .get(cell.deployment)
        .ok_or_else(|| broken("deployment", cell.deployment))?;
    if cell.arm >= deployment.arms.len() {
        return Err(broken("arm", cell.arm));
    }
    if cell.level >= deployment.levels.len() {
        return Err(broken("level", cell.level));
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
pub struct Entry<'r> {
    pub cell: &'r Cell,
    pub result: Option<&'r CellResult>,
}

#[derive(Debug, Clone, Default)]
pub struct Group<'r> {
    pub entries: Vec<Entry<'r>>,
}

impl<'r> Group<'r> {
    pub fn counted(&self) -> impl Iterator<Item = (u32, &'r CellResult)> + '_ {
        self.entries.iter().filter_map(|entry| {
            let result = entry.result.filter(|result| result.counts())?;
            Some((entry.cell.repeat, result))
        })
    }

    pub fn is_whole(&self) -> bool {
        self.counted().count() == self.entries.len()
    }

    /// Some repeat counts, and all that count were effective.
    pub fn is_effective(&self) -> bool {
        let mut verdicts = self.counted().map(|(_, result)| result.verdict()).peekable();
        verdicts.peek().is_some() && verdicts.all(|verdict| verdict == Verdict::Effective)
    }

    pub fn verdicts(&self) -> impl Iterator<Item = Verdict> + '_ {
        self.entries.iter().filter_map(|entry| Some(entry.result?.verdict()))
    }

    /// Each note once.
    pub fn notes(&self) -> Vec<&'r Note> {
        let mut notes: Vec<&Note> = Vec::new();
        for note in self.entries.iter().filter_map(|entry| entry.result).flat_map(CellResult::notes)
        {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        notes
    }

    pub fn group_verdicts(&self) -> GroupVerdicts {
        let verdict = |entry: &Entry<'_>| entry.result.map(CellResult::verdict);
        GroupVerdicts(self.entries.iter().map(verdict).collect())
    }
}

/// Groups by (deployment, arm, level).
#[derive(Debug)]
pub struct Grid<'r> {
    groups: BTreeMap<(usize, usize, usize), Group<'r>>,
    empty: Group<'r>,
}

impl<'r> Grid<'r> {
    /// `results` must have passed [`Results::check`].
    pub fn of(results: &'r Results<'_>) -> Self {
        let by_cell: BTreeMap<usize, &CellResult> =
            results.cells.iter().map(|result| (result.cell, result)).collect();
        let mut groups: BTreeMap<_, Group<'r>> = BTreeMap::new();
        for (index, cell) in results.plan.cells.iter().enumerate() {
            let entry = Entry { cell, result: by_cell.get(&index).copied() };
            let key = (cell.deployment, cell.arm, cell.level);
            groups.entry(key).or_default().entries.push(entry);
        }
        for group in groups.values_mut() {
            group.entries.sort_by_key(|entry| entry.cell.repeat);
        }
        Self { groups, empty: Group::default() }
    }

    /// Empty where nothing was planned.
    pub fn group(&self, deployment: usize, arm: usize, level: usize) -> &Group<'r> {
        self.groups.get(&(deployment, arm, level)).unwrap_or(&self.empty)
    }

    /// The folder name of a deployment's model: the first part of its cells' paths.
    pub fn model_slug(&self, deployment: usize, of: &Deployment) -> String {
        self.groups
            .range((deployment, 0, 0)..(deployment + 1, 0, 0))
            .find_map(|(_, group)| group.entries.first())
            .and_then(|entry| entry.cell.path.split('/').next())
            .map_or_else(|| of.model.name.replace(['/', '\\', ' '], "-"), str::to_owned)
    }
}

/// The arm that an arm is compared with first: random routing for routing arms where the plan has
/// it, else the control. None for the control itself.
pub(crate) fn reference(deployment: &Deployment, arm: usize) -> Option<usize> {
    let find = |role| deployment.arms.iter().position(|other| other.role == role);
    let of = &deployment.arms[arm];
    match of.role {
        ArmRole::Control | ArmRole::AsDeployed => None,
        ArmRole::Treatment if of.routing_is_claim => {
            find(ArmRole::RoutingControl).or_else(|| find(ArmRole::Control))
        }
        ArmRole::Treatment | ArmRole::ControlAgain | ArmRole::RoutingControl => {
            find(ArmRole::Control)
        }
    }
}
