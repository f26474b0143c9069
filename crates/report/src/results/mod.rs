//! The input of every comparison and output: a plan and what came of its cells.
//!
//! Plain data in memory, so that a comparison needs no run folder, and one place that decides
//! which cells count: a cell counts when it is complete and its verdict says so. Nothing else
//! in this crate looks at the figures of a cell that does not count.

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

/// Results that do not fit their plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResultsError {
    #[error("cell {cell} is not in the plan ({cells} cells); the run folder mixes two plans")]
    UnknownCell {
        /// Index that was given.
        cell: usize,
        cells: usize,
    },
    #[error("the record of cell {cell} is of `{found}`, not `{expected}`; restore its cell.json")]
    OtherPath {
        /// Index that was given.
        cell: usize,
        /// Path in the plan.
        expected: String,
        /// Path in the record.
        found: String,
    },
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
    /// Its `evidence.json`; absent where the cell failed before there was any.
    pub evidence: Option<Evidence>,
    /// Output tokens per second of equal parts of the window (`figures::throughput_batches`), for
    /// an interval within one run; may be empty.
    pub throughput_batches: Vec<f64>,
    /// Live targets: its answers against those of the control's cell with the same level and
    /// repeat; absent for the control itself and where there is no such cell.
    pub answers: Option<AnswerCount>,
    /// What it differs in from what it is compared with, besides the mechanism, as
    /// `likeness::judge` found; empty where it is alike.
    pub unlike: Vec<FactDifference>,
    /// That its answers are not those of the model, as `oracle::judge` found.
    pub corrupt: Option<Corruption>,
    /// Keys of the metrics whose error because of the load generator is not small, as
    /// `precision::judge` found.
    pub inexact: Vec<&'static str>,
}

/// Requests of the measured sets of several cells: those that were due in the windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct RequestCounts {
    pub measured: u64,
    pub completed: u64,
    pub failed: u64,
    /// Not ended when their cells did.
    pub open: u64,
}

/// Why a cell that ran to its end has no result, where its requests or what ran are the reason.
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
    /// Why the cell says little about the server: the load generator itself was the limit.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.record.figures.certificate.as_ref()?.refused.as_ref()
    }

    /// The verdict: that of the evidence, unless the cell did not finish, its load generator
    /// refused the level, or its answers were found corrupt.
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
            // Other engines give other answers, which says nothing of what was stored.
            _ if !self.unlike.is_empty() => {
                Verdict::Failed(FailureReason::NotComparable(self.unlike.clone()))
            }
            // Answers are what they are, however late the requests were sent.
            _ if self.corrupt.is_some() => Verdict::Corrupt,
            _ if self.refusal().is_some() => Verdict::Refused,
            (_, Some(evidence)) => evidence.verdict.clone(),
            (_, None) => Verdict::Unverified,
        }
    }

    /// Whether its answers can be judged: it ran to its end, with requests on time or not, on
    /// software that is the control's.
    pub(crate) fn answers_stand(&self) -> bool {
        self.record.status == CellStatus::Complete && self.unlike.is_empty()
    }

    /// Why it has its verdict; nothing where no evidence was left.
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

    /// What to change; nothing where its verdict asks for nothing.
    pub fn remedy(&self) -> Option<Remedy> {
        match self.verdict() {
            Verdict::Failed(FailureReason::NotComparable(differences)) => {
                Some(Remedy::Alike(why::remedy(&differences)))
            }
            Verdict::Corrupt => Some(Remedy::Check(CheckSetup::Blocks)),
            _ => self.evidence.as_ref()?.remedy,
        }
    }

    /// Whether it does not count because what ran differs from what it is compared with.
    fn is_unlike(&self) -> bool {
        let unlike = FailureReason::NotComparable(self.unlike.clone());
        !self.unlike.is_empty() && self.verdict() == Verdict::Failed(unlike)
    }

    /// Whether it does not count because of what ran.
    pub(crate) fn is_not_comparable(&self) -> bool {
        matches!(self.verdict(), Verdict::Failed(FailureReason::NotComparable(_)))
    }

    /// What could not be done or seen.
    pub fn notes(&self) -> &[Note] {
        self.evidence.as_ref().map_or(&[], |evidence| &evidence.notes)
    }

    /// Whether its figures may enter averages and plots.
    pub fn counts(&self) -> bool {
        self.verdict().counts()
    }
}

/// Where results come from, for the report's last section. Carries no times of day: analyses of
/// the same run are equal byte for byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// What to call the run, for example its folder's name.
    pub run: String,
    /// Hash of the plan, as in `environment.json`.
    pub plan_hash: String,
    /// Versions of what ran: "weir", "vllm", ...
    pub versions: BTreeMap<String, String>,
}

/// A plan and what came of its cells.
#[derive(Debug, Clone)]
pub struct Results<'a> {
    pub plan: &'a Plan,
    pub provenance: Provenance,
    /// Results, in any order; cells that have not run are absent.
    pub cells: Vec<CellResult>,
}

impl Results<'_> {
    /// Of which requests the figures speak: those of the cells that count or are shown as bounds,
    /// and of cells whose requests are why they do not.
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

    /// The results in the order in which tables show them: by deployment, level, arm and repeat. (A
    /// live run has them in a random one.) Their cells are those of the plan.
    pub fn in_order(&self) -> Vec<&CellResult> {
        let mut cells: Vec<&CellResult> = self.cells.iter().collect();
        cells.sort_by_key(|result| {
            let cell = &self.plan.cells[result.cell];
            (cell.deployment, cell.level, cell.arm, cell.repeat)
        });
        cells
    }

    /// Checks that plan and cells fit each other, so that later stages can index freely.
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

/// One planned repeat of an arm at a level, and its result if it has run.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'r> {
    pub cell: &'r Cell,
    pub result: Option<&'r CellResult>,
}

/// All repeats of one arm at one level.
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

    /// Whether no planned repeat was left out.
    pub fn is_whole(&self) -> bool {
        self.counted().count() == self.entries.len()
    }

    /// Whether some repeat counts and all that count were effective.
    pub fn is_effective(&self) -> bool {
        let mut verdicts = self.counted().map(|(_, result)| result.verdict()).peekable();
        verdicts.peek().is_some() && verdicts.all(|verdict| verdict == Verdict::Effective)
    }

    /// The verdicts of the repeats that have run.
    pub fn verdicts(&self) -> impl Iterator<Item = Verdict> + '_ {
        self.entries.iter().filter_map(|entry| Some(entry.result?.verdict()))
    }

    /// The notes of its repeats, each once.
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
    /// Sorts the cells of checked results into groups.
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

    /// The group of an arm at a level; empty where nothing was planned.
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

/// The arm that an arm is compared with first: routing arms with routing by chance where the
/// plan has it, others with the control. Nothing for the control itself.
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
