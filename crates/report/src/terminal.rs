//! A run's final output: plain text of at most 110 columns, without colours.

use std::fmt::Write;

use crate::comparison::{Comparison, DeploymentComparison, PredictionComparison, RunComparison};
use crate::tables::{
    answer_sentences, compact_table, generator_notes, generator_sentence, generator_short_table,
    level_table, outputs_sentence, outputs_table, peak_table, prediction_sentence,
    prediction_short_table, replicas_table, run_notes, run_table, scope_sentence, text,
    value_table, wrapped,
};

/// Runs with more rows (arms x levels) are printed arm by level, one number per cell.
const MOST_ROWS: usize = 40;

pub fn summary(of: &Comparison) -> String {
    let mut out = String::new();
    let counts = of.cells;
    let head = format!(
        "{}: {} target, {} of {} cells completed, {} valid (plan {}, seed {})",
        of.experiment, of.target, counts.run, counts.planned, counts.counted, of.plan_hash, of.seed
    );
    out += &wrapped(&head, "");
    out += &wrapped(&scope_sentence(of.requests), "");
    out += &wrapped(&of.doubt, "");
    for trace in &of.traces {
        out += &wrapped(trace, "");
    }
    if let Some(interrupted) = of.interrupted() {
        out += &wrapped(&interrupted, "");
    }
    let rows: usize = of.deployments.iter().map(|deployment| deployment.groups.len()).sum();
    let is_long = rows > MOST_ROWS;
    for deployment in &of.deployments {
        let _ = writeln!(out);
        out += &section(deployment, is_long);
    }
    if let Some(prediction) = &of.prediction {
        out += "\nPrediction\n";
        out += &predicted(prediction);
    }
    if !of.warnings.is_empty() {
        let _ = writeln!(out, "\nWarnings");
        for warning in &of.warnings {
            out += &wrapped(&format!("- {warning}"), "  ");
        }
    }
    out += "\nDecision\n";
    for deployment in &of.deployments {
        out += &wrapped(&decision_line(deployment), "  ");
    }
    out
}

fn predicted(of: &PredictionComparison) -> String {
    let mut out = wrapped(&prediction_sentence(of), "  ");
    if !of.groups.is_empty() {
        out.push('\n');
        out += &text(&prediction_short_table(of));
    }
    for (what, lines) in [("differs", &of.differences), ("not compared", &of.left_out)] {
        for line in lines {
            out += &wrapped(&format!("- {what}: {line}"), "  ");
        }
    }
    out
}

pub fn decision_line(of: &DeploymentComparison) -> String {
    format!("{} on {}: {}", of.model, of.hardware, of.decision.sentence)
}

fn section(of: &DeploymentComparison, is_long: bool) -> String {
    let mut out = wrapped(&format!("{} on {} ({})", of.model, of.hardware, of.facts()), "");
    out.push('\n');
    out += &text(&if is_long { compact_table(of) } else { level_table(of) });
    out.push('\n');
    let value = value_table(of);
    if !value.is_empty() {
        out += &text(&value);
        out.push('\n');
    }
    out += &text(&peak_table(of));
    out += &wrapped(&format!("Noise floor: {}.", of.noise_floor.note), "  ");
    if let Some(sentence) = outputs_sentence(of) {
        out += &wrapped(&format!("Outputs: {sentence}"), "  ");
        if !is_long {
            out.push('\n');
            out += &text(&outputs_table(of));
        }
    }
    let replicas = replicas_table(of);
    if !replicas.is_empty() && !is_long {
        out.push('\n');
        out += &text(&replicas);
    }
    if let Some(sentence) = generator_sentence(of) {
        out += &wrapped(&sentence, "  ");
        if !is_long {
            out.push('\n');
            out += &text(&generator_short_table(of));
        }
        for refusal in generator_notes(of) {
            out += &wrapped(&format!("- {refusal}"), "  ");
        }
    }
    for sentence in answer_sentences(of) {
        out += &wrapped(&sentence, "  ");
    }
    out
}

/// Leaves out changes below `least_percent`, and counts them.
pub fn runs(of: &RunComparison, least_percent: f64) -> String {
    let table = run_table(of, least_percent);
    let mut out = text(&table);
    let hidden = of.deltas.iter().filter(|delta| delta.is_small(least_percent)).count();
    if hidden > 0 {
        let _ = writeln!(out, "  {hidden} changes below {least_percent} % are not shown");
    }
    for note in run_notes(of) {
        out += &wrapped(&note, "  ");
    }
    for (which, paths) in [("first", &of.only_in_first), ("second", &of.only_in_second)] {
        for path in paths {
            let _ = writeln!(out, "  only in the {which} run: {path}");
        }
    }
    out
}
