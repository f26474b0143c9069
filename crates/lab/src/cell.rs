//! One cell, from its folder to its `cell.json`: run, measure, judge, close.

use weir_field::Field;
use weir_model::{
    CellFailure, FactKind, FactValue, FailureReason, LoadNote, RunningFacts, SignalKind, Signals,
    Unfit, Verdict,
};
use weir_record::{
    CellFigures, CellState, CellStatus, CellWriter, Evidence, ReplicaFigures, RunFolder,
};
use weir_report::results::without_result;
use weir_spec::likeness::against_plan;
use weir_spec::plan::{Cell, Deployment, Plan, Target};
use weir_spec::verdict::{Facts, IndexBlock, decide};

use crate::error::LabError;
use crate::host;
use crate::live::{LiveCell, measure};
use crate::outcome::{CellOutcome, ReplicaSeen};
use crate::progress::{Progress, Stop};
use crate::recorded::Recorded;
use crate::simulated::simulate;

/// The agents of `field`, if any, generate a live cell's load. False when it was
/// stopped: it has no `cell.json` then, and a resume runs it.
pub fn run_cell(
    run: &RunFolder,
    plan: &Plan,
    cell: &Cell,
    field: Option<&Field>,
    progress: &dyn Progress,
    stop: &Stop,
) -> Result<bool, LabError> {
    let asked_before = !matches!(run.cell_state(&cell.path)?, CellState::Missing);
    let mut writer = run.begin_cell(&cell.path)?;
    let mut fresh;
    let plan = if asked_before && plan.target.endpoint().is_some() {
        // Weir does not empty stores behind an endpoint: they hold earlier prompts of the cell.
        fresh = plan.clone();
        fresh.salt_prompts(host::nonce());
        &fresh
    } else {
        plan
    };
    let outcome = match &plan.target {
        Target::Simulated => simulate(plan, cell, &mut writer, stop)?,
        Target::Live(target) => {
            let of = LiveCell { field, run, plan, target, cell };
            measure(of, &mut writer, progress, stop)?
        }
    };
    let Some(outcome) = outcome else { return Ok(false) };
    close(plan, cell, writer, &outcome)?;
    progress.cell_done(cell);
    Ok(true)
}

fn close(plan: &Plan, cell: &Cell, writer: CellWriter, ran: &CellOutcome) -> Result<(), LabError> {
    let mut closed = writer.close_tables()?;
    let recorded = Recorded::read(plan, cell, closed.tables())?;
    let (figures, status) = match recorded.figures(plan, cell) {
        Ok(figures) => (figures, CellStatus::Complete),
        Err(contradiction) => {
            (CellFigures::default(), CellStatus::Failed(CellFailure::Rows(contradiction)))
        }
    };
    // The run's own failure comes first: rows of a cell without load contradict each other.
    let status = ran.failure.clone().map_or(status, CellStatus::Failed);
    let status = match status {
        CellStatus::Complete => worth(plan, &figures),
        failed @ CellStatus::Failed(_) if figures.measured == 0 => failed,
        // A part that died or hung is why requests failed.
        failed @ CellStatus::Failed(CellFailure::Error(_)) => failed,
        CellStatus::Failed(CellFailure::Unfit(Unfit::Stalled(stalled)))
            if stalled.names_a_part() =>
        {
            CellStatus::Failed(CellFailure::Unfit(Unfit::Stalled(stalled)))
        }
        // A server that answers nothing does not show how fast the generator is.
        failed => match worth(plan, &figures) {
            CellStatus::Complete => failed,
            unworthy => unworthy,
        },
    };
    let status = match status {
        CellStatus::Complete => comparable(plan, cell, ran),
        other => other,
    };
    let replicas = with_addresses(&figures.replicas, &ran.replicas);
    let mut figures = CellFigures {
        replicas,
        skipped_requests: ran.skipped,
        truncated_requests: ran.truncated,
        answers: ran.answers,
        certificate: ran.certificate.clone(),
        ..figures
    };
    if matches!(status, CellStatus::RequestsFailed { .. } | CellStatus::NothingCompleted)
        && let Some(certificate) = &mut figures.certificate
    {
        // The requests are the reason. They do not show how fast the generator can be.
        certificate.refused = None;
    }
    if plan.target.live().is_some() {
        hits_from_signals(&mut figures, &ran.signals);
    }
    closed.write_evidence(&evidence(plan, cell, ran, &status, &figures))?;
    closed.finish(figures, status, 1)?;
    Ok(())
}

/// Every replica, also those that answered nothing. Empty with one.
fn with_addresses(figures: &[ReplicaFigures], seen: &[ReplicaSeen]) -> Vec<ReplicaFigures> {
    if seen.len() < 2 || figures.is_empty() {
        return Vec::new();
    }
    let each = seen.iter().enumerate().map(|(number, replica)| ReplicaFigures {
        address: replica.address.clone(),
        mean_waiting: replica.mean_waiting,
        ..figures.get(number).cloned().unwrap_or_default()
    });
    each.collect()
}

/// Whether a cell that ran to its end has a result, by its measured requests.
fn worth(plan: &Plan, figures: &CellFigures) -> CellStatus {
    let most = plan.client.max_failures;
    if figures.failed as f64 > most * figures.measured as f64 {
        CellStatus::RequestsFailed { most }
    } else if figures.completed == 0 {
        CellStatus::NothingCompleted
    } else {
        CellStatus::Complete
    }
}

fn comparable(plan: &Plan, cell: &Cell, ran: &CellOutcome) -> CellStatus {
    let mut differences = against_plan(plan, cell, &ran.facts);
    differences.extend(ran.changed.iter().cloned());
    if differences.is_empty() {
        CellStatus::Complete
    } else {
        CellStatus::NotComparable(differences)
    }
}

/// A live server's answers say how much was cached; where, only the engine's counters say.
fn hits_from_signals(figures: &mut CellFigures, signals: &Signals) {
    let percent = |kind| {
        let (tokens, prompt) = signals.of_prompts(kind)?;
        (prompt > 0.0).then(|| (100.0 * tokens / prompt).min(100.0))
    };
    if let Some(gpu) = percent(SignalKind::GpuHitTokens) {
        figures.gpu_hit_percent = Some(gpu);
        figures.external_hit_percent = percent(SignalKind::ExternalHitTokens);
    }
}

fn index_block(deployment: &Deployment, facts: &RunningFacts) -> Option<IndexBlock> {
    match facts.all(FactKind::IndexBlock).first()?.value {
        FactValue::Count(index) => {
            Some(IndexBlock { index, engine: deployment.engine.block_size.into() })
        }
        _ => None,
    }
}

fn evidence(
    plan: &Plan,
    cell: &Cell,
    ran: &CellOutcome,
    status: &CellStatus,
    figures: &CellFigures,
) -> Evidence {
    let deployment = &plan.deployments[cell.deployment];
    let facts = Facts {
        replicas: deployment.replicas,
        effective_share: plan.effective_share,
        working_set: cell.prediction.working_set,
        regime: cell.prediction.regime,
        longest_offer: cell.prediction.longest_offer,
        longest_reuse: cell.prediction.longest_reuse,
        startup_warning: ran.startup_warning.as_deref(),
        index_block: index_block(deployment, &ran.facts),
    };
    let decision = decide(&deployment.arms[cell.arm], &facts, &ran.signals);
    // A cell that failed or ran on another engine gets no verdict from signals, and no remedy.
    let (verdict, reason, remedy) = match (status, without_result(status, figures)) {
        (_, Some(failure)) => (Verdict::Failed(failure), None, None),
        (CellStatus::Failed(failure), None) => {
            let failure = FailureReason::Cell(failure.clone());
            (Verdict::Failed(failure), Some(decision.reason), None)
        }
        _ => (decision.verdict, Some(decision.reason), decision.remedy),
    };
    let mut notes = ran.notes.clone();
    if *status == CellStatus::Complete {
        let failed = figures.failures.iter().cloned();
        notes.extend(failed.map(|failed| LoadNote::Failed(failed).into()));
    }
    Evidence {
        signals: ran.signals.clone(),
        facts: ran.facts.clone(),
        verdict,
        predicted: plan.target == Target::Simulated,
        claims: decision.claims,
        reason,
        other_half: decision.other_half,
        remedy,
        notes,
        short_window: ran.short_window,
    }
}
