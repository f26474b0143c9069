use std::fmt::Write;

use weir_lab::{Forecast, host};
use weir_model::{Bytes, Remedy, Verdict};
use weir_report::inputs::trace_sentence;
use weir_report::tables::{Table, text, wrapped};
use weir_report::words;
use weir_spec::plan::{Arm, ArmRole, Cell, Deployment, LevelLoad, Plan, Regime};

use crate::forecast::forecast_words;

pub(crate) fn overview(plan: &Plan) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{}: {} cells on the {} target (plan {}, seed {}); {}",
        plan.name,
        plan.cells.len(),
        plan.target.words(),
        plan.plan_hash(),
        plan.seed,
        forecast_words(&Forecast::of(plan, host::cores()))
    );
    for (index, deployment) in plan.deployments.iter().enumerate() {
        out.push('\n');
        out += &heading(deployment);
        out += &text(&tier_table(deployment));
        out.push('\n');
        out += &text(&cell_table(plan, index, deployment));
        out += &wrapped(&legend(plan, index), "  ");
        for remedy in remedies(plan, index) {
            out += &wrapped(&format!("- {remedy}"), "  ");
        }
    }
    if !plan.traces.is_empty() {
        out.push('\n');
        for trace in &plan.traces {
            out += &wrapped(&trace_sentence(trace), "  ");
        }
    }
    if !plan.warnings.is_empty() {
        out += "\nWarnings\n";
        for warning in &plan.warnings {
            out += &wrapped(&format!("- {warning}"), "  ");
        }
    }
    out
}

fn heading(of: &Deployment) -> String {
    if of.arms.iter().any(|arm| arm.role == ArmRole::AsDeployed) {
        return format!("{} at an endpoint, as it is deployed\n\n", of.model.name);
    }
    let engine = &of.engine;
    let tokens = u64::from(engine.blocks) * u64::from(engine.block_size);
    let kv = Bytes(engine.kv_bytes_per_token);
    format!(
        "{} on {}, {} x TP {}, vLLM {}\n  GPU pool {tokens} tokens ({}, {kv} per token), \
         at most {} sequences and {} tokens per pass\n\n",
        of.model.name,
        of.label,
        of.replicas,
        of.tensor_parallel,
        of.vllm,
        Bytes(tokens * engine.kv_bytes_per_token),
        engine.max_num_seqs,
        engine.max_num_batched_tokens,
    )
}

/// Per replica (a store: in all).
fn tier_table(of: &Deployment) -> Table {
    let mut table = Table::new("Arms", &["arm", "tier", ">capacity", ">tokens", ">x GPU pool"]);
    for arm in &of.arms {
        let engine = of.engine_of(arm);
        let pool = u64::from(engine.blocks) * u64::from(engine.block_size);
        let tiers = tiers(arm);
        if tiers.is_empty() {
            let words = match arm.role {
                ArmRole::AsDeployed => "not known",
                _ if arm.routing_is_claim => "routing only",
                _ => "GPU only",
            };
            table.rows.push([&*arm.name, words, "", "", ""].map(Into::into).into());
        }
        for (place, (name, capacity)) in tiers.iter().enumerate() {
            let tokens = arm.offload.as_ref().map_or(0, |offload| offload.tokens(*capacity));
            table.rows.push(vec![
                if place == 0 { arm.name.as_str() } else { "" }.into(),
                name.as_str().into(),
                capacity.to_string().into(),
                tokens.to_string().into(),
                format!("{:.2}", tokens as f64 / pool.max(1) as f64).into(),
            ]);
        }
    }
    table
}

fn tiers(arm: &Arm) -> Vec<(String, Bytes)> {
    let Some(offload) = &arm.offload else { return Vec::new() };
    let local = offload.tiers.iter().map(|tier| (tier.kind.name().to_owned(), tier.capacity));
    let store = offload.store.iter().map(|store| (store.product.name().to_owned(), store.capacity));
    local.chain(store).collect()
}

fn cell_table(plan: &Plan, index: usize, of: &Deployment) -> Table {
    let heads = ["arm", "level", ">working set", "regime", "predicted verdict"];
    let mut table = Table::new("Cells (per repeat)", &heads);
    let mut last: Option<(usize, Option<Bytes>, Regime, &Verdict)> = None;
    let mut first_level = String::new();
    for (arm_index, arm) in of.arms.iter().enumerate() {
        for cell in first_repeats(plan, index).filter(|cell| cell.arm == arm_index) {
            let prediction = &cell.prediction;
            let (set, regime) = (prediction.working_set, prediction.regime);
            let this = (arm_index, set, regime, &prediction.verdict);
            let level = level_name(of, cell);
            if last.as_ref() == Some(&this)
                && let Some(row) = table.rows.last_mut()
            {
                // Neighbouring levels with one expectation share a line.
                row[1] = format!("{first_level}..{level}").into();
                continue;
            }
            first_level.clone_from(&level);
            let is_new = last.as_ref().is_none_or(|(before, ..)| *before != arm_index);
            let name = if is_new { arm.name.as_str() } else { "" };
            table.rows.push(vec![
                name.into(),
                level.into(),
                set.map_or_else(|| "-".to_owned(), |set| set.to_string()).into(),
                regime.name().into(),
                words::verdict(&prediction.verdict).into(),
            ]);
            last = Some(this);
        }
    }
    table
}

fn legend(plan: &Plan, deployment: usize) -> String {
    let mut words =
        "Working set: KV bytes that were asked and will be asked again, at their peak, \
                     per replica. Regimes, by a replay without time:"
            .to_owned();
    let printed = |regime: &Regime| {
        first_repeats(plan, deployment).any(|cell| cell.prediction.regime == *regime)
    };
    // "more" refers to the first.
    let told = |regime: &Regime| *regime == Regime::FitsGpu || printed(regime);
    let regimes = [Regime::FitsGpu, Regime::EndsBeforeReuse, Regime::FitsTier, Regime::Overflows];
    for (place, regime) in regimes.iter().filter(|regime| told(regime)).enumerate() {
        let separator = if place == 0 { "" } else { ";" };
        let _ = write!(words, "{separator} {}: {}", regime.name(), regime.meaning());
    }
    words + "."
}

fn first_repeats(plan: &Plan, deployment: usize) -> impl Iterator<Item = &Cell> {
    plan.cells.iter().filter(move |cell| cell.deployment == deployment && cell.repeat == 0)
}

fn level_name(of: &Deployment, cell: &Cell) -> String {
    let level = &of.levels[cell.level];
    match level.load {
        LevelLoad::Users(users) => format!("c{users}"),
        _ => level.name.clone(),
    }
}

/// Each remedy once, with its arms.
fn remedies(plan: &Plan, deployment: usize) -> Vec<String> {
    let mut found: Vec<(Remedy, Vec<&str>)> = Vec::new();
    for cell in first_repeats(plan, deployment) {
        let Some(remedy) = cell.prediction.remedy else { continue };
        let arm = plan.deployments[deployment].arms[cell.arm].name.as_str();
        match found.iter_mut().find(|(known, _)| *known == remedy) {
            Some((_, arms)) if arms.contains(&arm) => {}
            Some((_, arms)) => arms.push(arm),
            None => found.push((remedy, vec![arm])),
        }
    }
    let line = |(remedy, arms): (Remedy, Vec<&str>)| {
        format!("{}: {}", arms.join(", "), words::remedy(remedy))
    };
    found.into_iter().map(line).collect()
}
