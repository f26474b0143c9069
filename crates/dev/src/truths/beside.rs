//! The cells beside a recorded one. Its verdict depends on the plan's software, the control's
//! facts, and the control's answers.

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

/// Cells of one level and repeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Beside {
    /// Reduced to these cells.
    plan: Plan,
    /// Index of the recorded cell.
    own: usize,
    cells: Vec<Said>,
}

/// Facts and answers of a cell's software.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    cell: usize,
    facts: RunningFacts,
    answers: Option<AnswerCount>,
}

impl Beside {
    /// The cells beside one of a run, and that cell's verdict.
    pub(super) fn read(
        folder: &RunFolder,
        plan: &Plan,
        cell: &Cell,
    ) -> anyhow::Result<(Verdict, Self)> {
        let plan = part(plan, cell);
        let (mut cells, mut tables) = (Vec::new(), Vec::new());
        for (index, of) in plan.cells.iter().enumerate() {
            // A cell that did not run is not compared.
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

    /// The cell's verdict by all rules; its signals alone give `verdict`.
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

/// Only the cells of the same level and repeat, without the file's name.
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

/// After the rules over several cells.
fn judged(plan: &Plan, cells: Vec<CellResult>, own: usize) -> Option<CellResult> {
    let mut results = Results { plan, provenance: Provenance::default(), cells };
    likeness::judge(&mut results);
    oracle::judge(&mut results);
    results.cells.into_iter().find(|result| result.cell == own)
}
