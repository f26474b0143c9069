//! `report.md`: the comparison as Markdown, with links to the still pictures beside it.

use std::fmt::Write;

use crate::charts::{Chart, deployment_charts};
use crate::comparison::{Comparison, DeploymentComparison, PredictionComparison};
use crate::tables::{
    self, Table, answer_sentences, arms_table, definitions_table, equal_level_table, escaped,
    explanations_table, generator_notes, generator_sentence, generator_table, level_table,
    origins_table, outputs_rule, outputs_sentence, outputs_table, overview_table, peak_table,
    prediction_sentence, prediction_table, replicas_table, scope_sentence, software_sentences,
    software_table, value_table, verdict_matrix,
};

pub fn markdown(of: &Comparison) -> String {
    let mut out = format!("# {}\n\n", escaped(&of.experiment));
    let counts = of.cells;
    let _ = writeln!(
        out,
        "Run {} on the {} target: {} of {} cells completed, {} valid.\n\n{}\n\n{}\n",
        escaped(&of.run),
        of.target,
        counts.run,
        counts.planned,
        counts.counted,
        scope_sentence(of.requests),
        of.doubt
    );
    for trace in &of.traces {
        let _ = writeln!(out, "{}\n", escaped(trace));
    }
    if let Some(interrupted) = of.interrupted() {
        let _ = writeln!(out, "{interrupted}\n");
    }
    out += "## Decision\n\n";
    for deployment in &of.deployments {
        let _ = writeln!(
            out,
            "- **{} on {}**: {}",
            escaped(&deployment.model),
            escaped(&deployment.hardware),
            escaped(&deployment.decision.sentence)
        );
    }
    out.push('\n');
    out += &tables::markdown(&overview_table(of));
    if !of.warnings.is_empty() {
        out += "\n## Warnings\n\n";
        for warning in &of.warnings {
            let _ = writeln!(out, "- {}", escaped(warning));
        }
    }
    for deployment in &of.deployments {
        out += &section(deployment);
    }
    if let Some(prediction) = &of.prediction {
        out += &predicted(prediction);
    }
    out += "\n## Definitions\n\n";
    out += &tables::markdown(&definitions_table(&of.currency));
    out += "\n## Provenance\n\n";
    let _ = writeln!(out, "- plan: `{}`\n- seed: {}", of.plan_hash, of.seed);
    let _ = writeln!(out, "- repeats: {}", of.repeats);
    for (name, version) in &of.versions {
        let _ = writeln!(out, "- {}: {}", escaped(name), escaped(version));
    }
    if !of.origins.is_empty() {
        out.push('\n');
        out += &tables::markdown(&origins_table(of));
    }
    out
}

fn predicted(of: &PredictionComparison) -> String {
    let mut out = "\n## Prediction against measurement\n\n".to_owned();
    let _ = writeln!(out, "{}\n", escaped(&prediction_sentence(of)));
    if !of.groups.is_empty() {
        out += &tables::markdown(&prediction_table(of));
    }
    for (title, lines) in [("Differences", &of.differences), ("Not compared", &of.left_out)] {
        if !lines.is_empty() {
            let _ = writeln!(out, "\n{title}: {}.", escaped(&lines.join("; ")));
        }
    }
    out
}

fn section(of: &DeploymentComparison) -> String {
    let mut out = format!("\n## {} on {}\n\n", escaped(&of.model), escaped(&of.hardware));
    let _ = writeln!(out, "{}\n", escaped(&of.decision.sentence));
    let _ = writeln!(out, "{}. Noise floor: {}.", of.facts(), of.noise_floor.note);
    let mut add = |table: &Table| {
        if !table.is_empty() {
            out.push('\n');
            out += &tables::markdown(table);
        }
    };
    add(&arms_table(of));
    add(&verdict_matrix(of));
    add(&explanations_table(of));
    add(&level_table(of));
    add(&value_table(of));
    add(&peak_table(of));
    for (arm, control) in of.compared_pairs() {
        add(&equal_level_table(of, arm, control));
    }
    let software = software_table(of);
    let sentences = software_sentences(of);
    if !(software.is_empty() && sentences.is_empty()) {
        out += "\n### Running software\n\n";
        for sentence in sentences {
            let _ = writeln!(out, "{}\n", escaped(&sentence));
        }
        if !software.is_empty() {
            out += &tables::markdown(&software);
        }
    }
    if let Some(sentence) = outputs_sentence(of) {
        let rule = escaped(&outputs_rule());
        let _ = writeln!(out, "\n### Outputs\n\n{} {rule}\n", escaped(&sentence));
        out += &tables::markdown(&outputs_table(of));
    }
    let replicas = replicas_table(of);
    if !replicas.is_empty() {
        out += "\n### Replicas\n\n";
        out += &tables::markdown(&replicas);
    }
    if let Some(sentence) = generator_sentence(of) {
        let _ = writeln!(out, "\n### Load generator\n\n{}\n", escaped(&sentence));
        for note in generator_notes(of) {
            let _ = writeln!(out, "- {}", escaped(&note));
        }
        out.push('\n');
        out += &tables::markdown(&generator_table(of));
        for sentence in answer_sentences(of) {
            let _ = writeln!(out, "\n{}", escaped(&sentence));
        }
    }
    let charts = deployment_charts(of);
    if !charts.is_empty() {
        out += "\n### Charts\n\n";
    }
    for chart in &charts {
        let _ = writeln!(out, "![{}](plots/{}.png)\n", escaped(&chart.title()), chart.id());
    }
    if let Some(notes) = charts.first().map(Chart::left_out).filter(|notes| !notes.is_empty()) {
        let _ = writeln!(out, "Not drawn: {}.", escaped(&notes.join("; ")));
    }
    out
}
