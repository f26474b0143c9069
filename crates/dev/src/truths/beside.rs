//! The cells beside a recorded one: its verdict rests on what the plan says of the software, on
//! what the control's software says of itself, and on the control's answers.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use weir_model::{RunningFacts, Signals, Verdict};
use weir_record::{CellFigures, CellReader, CellRecord, CellStatus, Evidence, RunFolder};
use weir_report::likeness;
use weir_report::oracle;
use weir_report::results::{AnswerCount, CellResult, Provenance, Results};
use weir_spec::likeness::against_plan;
use weir_spec::plan::{Cell, Plan};

/// The cells of a level and repeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Beside {
    /// The plan, as far as these cells go.
    plan: Plan,
    /// Which of its cells is the recorded one.
    own: usize,
    cells: Vec<Said>,
}

/// What a cell's software said of itself, and what it answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    cell: usize,
    facts: RunningFacts,
    answers: Option<AnswerCount>,
}

impl Beside {
    /// The cells of a run beside one of them, and the verdict that the run gives that one.
    pub(super) fn read(
        folder: &RunFolder,
        plan: &Plan,
        cell: &Cell,
    ) -> anyhow::Result<(Verdict, Self)> {
        let plan = part(plan, cell);
        let (mut cells, mut tables) = (Vec::new(), Vec::new());
        for (index, of) in plan.cells.iter().enumerate() {
            // One that did not run is compared with nothing.
            let Ok(reader) = CellReader::open(folder, &of.path) else { continue };
            cells.push(result(index, reader.record().clone(), reader.evidence()?));
            tables.push(reader.tables().clone());
        }
        oracle::compare_answers(&plan, &tables, &mut cells)?;
        let own = plan.cells.iter().position(|of| of.path == cell.path);
        let own = own.with_context(|| format!("{} is not in its plan", cell.path))?;
        let said = cells.iter().map(|result| Said {
            cell: result.cell,
            facts: result.evidence.as_ref().map(|seen| seen.facts.clone()).unwrap_or_default(),
            answers: result.answers,
        });
        let said = said.collect();
        let verdict = judged(&plan, cells, own).map(|result| result.verdict());
        let verdict = verdict.with_context(|| format!("{} did not run", cell.path))?;
        Ok((verdict, Self { plan, own, cells: said }))
    }

    /// What the rules make of the recorded cell, of which its signals alone make this.
    pub(super) fn judged(&self, verdict: &Verdict, signals: &Signals) -> Verdict {
        let cells = self.cells.iter().map(|said| {
            let cell = &self.plan.cells[said.cell];
            let from_plan = against_plan(&self.plan, cell, &said.facts);
            let status = if from_plan.is_empty() {
                CellStatus::Complete
            } else {
                CellStatus::NotComparable(from_plan)
            };
            let record = CellRecord {
                path: cell.path.clone(),
                status,
                figures: CellFigures::default(),
                files: BTreeMap::new(),
                attempts: 1,
            };
            let evidence = Evidence {
                signals: signals.clone(),
                facts: said.facts.clone(),
                verdict: verdict.clone(),
                predicted: false,
                claims: Vec::new(),
                reason: None,
                other_half: None,
                remedy: None,
                notes: Vec::new(),
                short_window: None,
            };
            let answers = said.answers;
            CellResult { answers, ..result(said.cell, record, Some(evidence)) }
        });
        judged(&self.plan, cells.collect(), self.own)
            .map_or_else(|| verdict.clone(), |own| own.verdict())
    }
}

/// A plan with the cells of the same level and repeat alone, and nothing that tells of its file.
fn part(plan: &Plan, cell: &Cell) -> Plan {
    let mut deployment = plan.deployments[cell.deployment].clone();
    deployment.levels = vec![deployment.levels.swap_remove(cell.level)];
    let alike = |of: &&Cell| {
        (of.deployment, of.level, of.repeat) == (cell.deployment, cell.level, cell.repeat)
    };
    let own = |of: &Cell| Cell { deployment: 0, level: 0, ..of.clone() };
    Plan {
        deployments: vec![deployment],
        cells: plan.cells.iter().filter(alike).map(own).collect(),
        inputs: BTreeMap::new(),
        traces: Vec::new(),
        warnings: Vec::new(),
        origins: BTreeMap::new(),
        ..plan.clone()
    }
}

const fn result(cell: usize, record: CellRecord, evidence: Option<Evidence>) -> CellResult {
    CellResult {
        cell,
        record,
        evidence,
        throughput_batches: Vec::new(),
        answers: None,
        unlike: Vec::new(),
        corrupt: None,
        inexact: Vec::new(),
    }
}

/// A cell after the rules that look at several.
fn judged(plan: &Plan, cells: Vec<CellResult>, own: usize) -> Option<CellResult> {
    let mut results = Results { plan, provenance: Provenance::default(), cells };
    likeness::judge(&mut results);
    oracle::judge(&mut results);
    results.cells.into_iter().find(|result| result.cell == own)
}
