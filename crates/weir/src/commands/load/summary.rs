//! Output of `weir load`: one line per level.

use std::collections::BTreeSet;
use std::fmt::Write;

use weir_model::{FailureReason, Note};
use weir_record::CellStatus;
use weir_report::comparison::{Comparison, short_windows};
use weir_report::results::{CellResult, Results, Why, without_result};
use weir_report::tables::{
    Table, answer_sentences, figure_text, generator_notes, generator_sentence, marked_tokens,
    replicas_table, scope_sentence, text, token_sources_table, wrapped,
};
use weir_report::words;
use weir_spec::plan::{LevelLoad, Plan};

use super::agents::Several;
use super::working_set::WorkingSets;

pub(super) fn planned(
    plan: &Plan,
    sets: Option<&WorkingSets>,
    several: Option<&Several>,
) -> String {
    let deployment = &plan.deployments[0];
    let mut out = String::new();
    let Some(target) = plan.target.endpoint() else { return out };
    let _ = writeln!(out, "{} at {}", deployment.model.name, target.url.0.join(", "));
    for level in &deployment.levels {
        let duration = level.duration.map_or("to its end".to_owned(), |time| format!("for {time}"));
        let most = level.max_requests.map_or(String::new(), |n| format!(", at most {n} requests"));
        let _ = writeln!(
            out,
            "  {}: {duration}, measured from {}{most}, {} repeats",
            level.name, level.warmup, plan.repeats
        );
    }
    if let Some(several) = several {
        let _ = writeln!(out, "  by {}", several.words());
    }
    if let Some(sets) = sets {
        out += &wrapped(&sets.sentence(), "  ");
    }
    out
}

pub(super) fn of(
    results: &Results<'_>,
    comparison: &Comparison,
    sets: Option<&WorkingSets>,
) -> String {
    let plan = results.plan;
    let Levels { table, refused, failed } = levels(results);
    let mut out = format!("{}\n\n", plan.deployments[0].model.name);
    for line in &failed {
        out += &wrapped(line, "  ");
    }
    if !failed.is_empty() {
        out.push('\n');
    }
    out += &text(&table);
    out += &wrapped(&scope_sentence(comparison.requests), "  ");
    if plan.slo.binds() {
        out.push('\n');
        out += &text(&goodput(results));
    }
    for table in
        token_sources_table(results).into_iter().chain(sets.and_then(|sets| sets.table(results)))
    {
        out.push('\n');
        out += &text(&table);
    }
    for replicas in comparison.deployments.iter().map(replicas_table) {
        if !replicas.is_empty() {
            out.push('\n');
            out += &text(&replicas);
        }
    }
    if let Some(sets) = sets {
        out += &wrapped(&sets.sentence(), "  ");
    }
    for line in refused {
        out += &wrapped(&line, "  ");
    }
    for deployment in &comparison.deployments {
        if let Some(sentence) = generator_sentence(deployment) {
            out += &wrapped(&sentence, "  ");
        }
        for note in generator_notes(deployment) {
            out += &wrapped(&format!("- {note}"), "  ");
        }
        for sentence in answer_sentences(deployment) {
            out += &wrapped(&sentence, "  ");
        }
    }
    for trace in &comparison.traces {
        out += &wrapped(trace, "  ");
    }
    for note in notes(results) {
        out += &wrapped(&note, "  ");
    }
    out
}

/// Figures of levels, and notes on levels without.
struct Levels {
    table: Table,
    refused: Vec<String>,
    failed: Vec<String>,
}

fn levels(results: &Results<'_>) -> Levels {
    let plan = results.plan;
    let deployment = &plan.deployments[0];
    let heads = [
        "level",
        ">req",
        ">fail",
        ">req/s",
        ">tok/s",
        ">TTFT p50",
        ">p99",
        ">ITL mean",
        ">p99",
        ">E2E p99",
        ">in flight",
        ">error <",
    ];
    let mut table = Table::new("Times in ms; from the due time of each request", &heads);
    let (mut refused, mut failed) = (Vec::new(), Vec::new());
    for result in results.in_order() {
        let cell = &plan.cells[result.cell];
        let level = &deployment.levels[cell.level].name;
        match &result.record.status {
            CellStatus::Complete => table.rows.push(row(level, result)),
            CellStatus::Failed(why) => {
                let why = words::failure(&FailureReason::Cell(why.clone()));
                refused.push(format!("{level}: {why}."));
            }
            status => {
                table.rows.push(row(level, result));
                let why = without_result(status, &result.record.figures);
                failed.extend(why.map(|why| format!("{level} failed: {}.", words::failure(&why))));
            }
        }
    }
    Levels { table, refused, failed }
}

/// A missing value is `-`, an inexact one a bound.
fn row(level: &str, result: &CellResult) -> Vec<weir_report::tables::TableCell> {
    let shown =
        |key: &str, digits: usize| figure_text(result, key, |value| format!("{value:.digits$}"));
    let answers = result.record.figures.answers.as_ref();
    vec![
        level.into(),
        shown("completed", 0).into(),
        shown("failed", 0).into(),
        shown("requests_per_s", 2).into(),
        marked_tokens(answers, shown("output_tokens_per_s", 0)).into(),
        shown("ttft_p50_ms", 2).into(),
        shown("ttft_p99_ms", 2).into(),
        shown("itl_mean_ms", 2).into(),
        shown("itl_p99_ms", 2).into(),
        shown("e2e_p99_ms", 2).into(),
        shown("mean_in_flight", 1).into(),
        shown("ttft_error_bound_ms", 3).into(),
    ]
}

fn goodput(results: &Results<'_>) -> Table {
    let mut table = Table::new("Goodput", &["level", ">good req/s", ">share %"]);
    for result in results.in_order() {
        let cell = &results.plan.cells[result.cell];
        let figures = &result.record.figures;
        let (Some(rate), Some(share)) = (figures.goodput_requests_per_s, figures.goodput_share)
        else {
            continue;
        };
        let level = &results.plan.deployments[cell.deployment].levels[cell.level].name;
        table.rows.push(vec![
            level.as_str().into(),
            format!("{rate:.2}").into(),
            format!("{:.1}", 100.0 * share).into(),
        ]);
    }
    table
}

#[derive(PartialEq)]
enum Said<'r> {
    Why(Why<'r>),
    Note(&'r Note),
}

/// Each note once, with its levels where those are not all.
fn notes(results: &Results<'_>) -> Vec<String> {
    let plan = results.plan;
    // Notes matter little where requests failed.
    let has_result = |result: &&CellResult| {
        without_result(&result.record.status, &result.record.figures).is_none()
    };
    let told: Vec<&CellResult> = results.in_order().into_iter().filter(has_result).collect();
    let level = |result: &CellResult| {
        let cell = &plan.cells[result.cell];
        plan.deployments[cell.deployment].levels[cell.level].name.as_str()
    };
    let mut said: Vec<(Said<'_>, BTreeSet<&str>)> = Vec::new();
    for result in &told {
        let why = result.why().map(Said::Why);
        for thing in why.into_iter().chain(result.notes().iter().map(Said::Note)) {
            match said.iter_mut().find(|(held, _)| *held == thing) {
                Some((_, levels)) => _ = levels.insert(level(result)),
                None => said.push((thing, BTreeSet::from([level(result)]))),
            }
        }
    }
    let all: BTreeSet<&str> = told.iter().map(|result| level(result)).collect();
    let words = |(thing, levels): (Said<'_>, BTreeSet<&str>)| {
        let sentence = match thing {
            Said::Why(why) => why.words(),
            Said::Note(note) => format!("{}.", words::note(note)),
        };
        if levels == all {
            return sentence;
        }
        let names = plan.deployments[0].levels.iter().map(|level| level.name.as_str());
        let at: Vec<&str> = names.filter(|name| levels.contains(name)).collect();
        format!("{}: {sentence}", at.join(", "))
    };
    let mut notes: Vec<String> = said.into_iter().map(words).collect();
    notes.extend(short_windows(results));
    notes
}

pub(super) fn found(plan: &Plan, level: Option<usize>, share: f64) -> String {
    let levels = &plan.deployments[0].levels;
    let rate = |level: usize| match levels[level].load {
        LevelLoad::Constant(rate) | LevelLoad::Poisson(rate) | LevelLoad::Gamma { rate, .. } => {
            rate.to_string()
        }
        LevelLoad::Users(_) | LevelLoad::Trace { .. } => levels[level].name.clone(),
    };
    match level {
        None => format!(
            "No rate of the range meets the objectives in {:.0} % of the requests, not even {}.",
            100.0 * share,
            rate(0)
        ),
        Some(last) if last + 1 == levels.len() => format!(
            "All rates up to the end of the range, {} sessions/s, meet the objectives: search \
             higher.",
            rate(last)
        ),
        Some(level) => format!(
            "Highest rate that meets the objectives in {:.0} % of the requests: {} sessions/s.",
            100.0 * share,
            rate(level)
        ),
    }
}
