//! One cell, from its folder to its `cell.json`: run, measure, judge, close.

use weir_model::{Nanos, Verdict};
use weir_record::{CellFigures, CellStatus, CellTables, Claim, Evidence, RunFolder};
use weir_report::comparison::REMEDY_MARK;
use weir_report::figures::{Measure, RequestColumns, Window, summarise};
use weir_sim::Summary;
use weir_spec::plan::{Cell, Level, Plan};
use weir_spec::verdict::{Facts, decide};

use crate::interrupt::Interrupt;
use crate::simulated::simulate;

/// Runs a cell. False when it was interrupted: it has no `cell.json` then, and a resume runs it.
pub(crate) fn run_cell(
    run: &RunFolder,
    plan: &Plan,
    cell: &Cell,
    interrupt: &Interrupt,
) -> anyhow::Result<bool> {
    let mut writer = run.begin_cell(&cell.path)?;
    let Some(simulated) = simulate(plan, cell, &mut writer, interrupt)? else {
        return Ok(false);
    };
    let summary = simulated.summary;
    let mut closed = writer.close_tables()?;
    let level = &plan.deployments[cell.deployment].levels[cell.level];
    let columns = request_columns(closed.tables())?;
    let window = window(level, &columns);
    let deployment = &plan.deployments[cell.deployment];
    let measure = Measure::of(plan, deployment, window);
    let steps = step_rows(closed.tables())?;
    let (figures, status) = match summarise(&columns, &steps, &measure) {
        Ok(figures) => {
            let (skipped, truncated) = (simulated.skipped, simulated.truncated);
            let figures =
                CellFigures { skipped_requests: skipped, truncated_requests: truncated, ..figures };
            (figures, CellStatus::Complete)
        }
        Err(contradiction) => {
            (CellFigures::default(), CellStatus::Failed(contradiction.to_string()))
        }
    };
    let status = check_flow(&summary, status);
    let evidence = evidence(plan, cell, &summary, &status);
    closed.write_evidence(&evidence)?;
    closed.finish(figures, status, 1)?;
    Ok(true)
}

/// The simulator's own books must balance: Little's law, without a rounding error.
fn check_flow(summary: &Summary, status: CellStatus) -> CellStatus {
    if summary.flow_integral == summary.residence_sum {
        return status;
    }
    CellStatus::Failed(format!(
        "the integral of requests in flight, {} ns, is not the sum of residence times, {} ns",
        summary.flow_integral, summary.residence_sum
    ))
}

fn evidence(plan: &Plan, cell: &Cell, summary: &Summary, status: &CellStatus) -> Evidence {
    let deployment = &plan.deployments[cell.deployment];
    let facts = Facts {
        replicas: deployment.replicas,
        effective_share: plan.effective_share,
        working_set: Some(cell.prediction.working_set),
    };
    let decision = decide(&deployment.arms[cell.arm], &facts, &summary.signals);
    let verdict = match status {
        CellStatus::Complete => decision.verdict,
        CellStatus::Failed(cause) => Verdict::Failed(cause.clone()),
    };
    let explanation = match decision.remedy {
        Some(remedy) => format!("{} {REMEDY_MARK} {remedy}.", decision.explanation),
        None => decision.explanation,
    };
    let claims = decision
        .claims
        .into_iter()
        .map(|claim| Claim { claim: claim.claim, held: claim.held, seen: claim.seen })
        .collect();
    let signals = summary.signals.clone();
    Evidence { signals, verdict, predicted: true, claims, explanation }
}

/// The request rows of a cell as the columns that figures are made of.
pub(crate) fn request_columns(tables: &CellTables) -> anyhow::Result<RequestColumns> {
    let mut columns = RequestColumns::default();
    for row in tables.rows()? {
        columns.push(&row?);
    }
    Ok(columns)
}

/// The passes of a cell.
pub(crate) fn step_rows(tables: &CellTables) -> anyhow::Result<Vec<weir_model::StepRow>> {
    Ok(tables.step_rows()?.collect::<Result<Vec<_>, _>>()?)
}

/// The window of a cell whose rows are known.
pub(crate) fn window(level: &Level, columns: &RequestColumns) -> Window {
    Window::of(level, columns.last_end().max(Nanos(1)))
}
