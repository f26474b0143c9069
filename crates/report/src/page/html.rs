//! `report.html`: one self-contained page with interactive charts. Script, styles and data are
//! inside.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};
use serde::Serialize;

use crate::charts::{Chart, chart_json, deployment_charts, script};
use crate::comparison::{Comparison, DeploymentComparison, PredictionComparison};
use crate::error::ReportError;
use crate::tables::{
    Table, answer_sentences, arms_table, definitions_table, equal_level_table, explanations_table,
    generator_notes, generator_sentence, generator_table, level_table, origins_table, outputs_rule,
    outputs_sentence, outputs_table, overview_table, peak_table, prediction_sentence,
    prediction_table, replicas_table, scope_sentence, software_sentences, software_table,
    value_table, verdict_matrix,
};

const TEMPLATE: &str = include_str!("templates/report.html");
const STYLE: &str = include_str!("templates/report.css");
const DRAW: &str = include_str!("templates/charts.js");

#[derive(Serialize)]
struct Section {
    anchor: String,
    model: String,
    hardware: String,
    facts: String,
    sentence: String,
    remedies: Vec<String>,
    noise: String,
    charts: Vec<ChartView>,
    left_out: Vec<String>,
    arms: Table,
    matrix: Table,
    levels: Table,
    values: Table,
    peaks: Table,
    equal_levels: Vec<Table>,
    explanations: Table,
    software_sentences: Vec<String>,
    software: Table,
    outputs_sentence: String,
    outputs: Table,
    replicas: Table,
    generator_sentence: String,
    generator_notes: Vec<String>,
    generator: Table,
    answers: Vec<String>,
}

#[derive(Serialize)]
struct ChartView {
    id: String,
    title: String,
    wide: bool,
    json: Value,
}

pub fn html(of: &Comparison) -> Result<String, ReportError> {
    let failed = |source| ReportError::Template { source };
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_filter("marked", |text: &str| Value::from_safe_string(marked(text)));
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(failed)?);
    environment.add_template("report.html", TEMPLATE).map_err(failed)?;
    let template = environment.get_template("report.html").map_err(failed)?;
    let sections: Vec<Section> =
        of.deployments.iter().enumerate().map(|(place, of)| section(place, of)).collect();
    template
        .render(context! {
            run => Value::from(Serde(of)),
            sections => Value::from(Serde(&sections)),
            definitions => Value::from(Serde(definitions_table(&of.currency))),
            overview => Value::from(Serde(overview_table(of))),
            prediction => Value::from(Serde(of.prediction.as_ref().map(prediction))),
            interrupted => of.interrupted(),
            outputs_rule => outputs_rule(),
            scope => scope_sentence(of.requests),
            origins => Value::from(Serde(origins_table(of))),
            style => Value::from_safe_string(STYLE.to_owned()),
            plotly => Value::from_safe_string(script()),
            draw => Value::from_safe_string(DRAW.to_owned()),
        })
        .map_err(failed)
}

/// Text as HTML, with text between backticks as code.
fn marked(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    let last = parts.len() - 1;
    let mut html = String::with_capacity(text.len());
    for (place, part) in parts.iter().enumerate() {
        let escaped = minijinja::HtmlEscape(part).to_string();
        match place % 2 {
            0 => html += &escaped,
            // An unclosed backtick is plain text.
            _ if place == last => html.extend(["`", &escaped]),
            _ => html.extend(["<code>", &escaped, "</code>"]),
        }
    }
    html
}

#[derive(Serialize)]
struct PredictionView<'a> {
    sentence: String,
    table: Table,
    differences: &'a [String],
    left_out: &'a [String],
}

fn prediction(of: &PredictionComparison) -> PredictionView<'_> {
    PredictionView {
        sentence: prediction_sentence(of),
        table: prediction_table(of),
        differences: &of.differences,
        left_out: &of.left_out,
    }
}

fn section(place: usize, of: &DeploymentComparison) -> Section {
    let all = deployment_charts(of);
    let left_out = all.first().map_or_else(Vec::new, |chart| chart.left_out().to_vec());
    let view = |chart: &Chart| ChartView {
        id: chart.id().to_owned(),
        title: chart.what().to_owned(),
        wide: matches!(chart, Chart::Heat(_)),
        json: Value::from_safe_string(chart_json(chart)),
    };
    Section {
        anchor: format!("deployment-{place}"),
        model: of.model.clone(),
        hardware: of.hardware.clone(),
        facts: of.facts(),
        sentence: of.decision.sentence.clone(),
        remedies: of.decision.remedies.clone(),
        noise: of.noise_floor.note.clone(),
        charts: all.iter().map(view).collect(),
        left_out,
        arms: arms_table(of),
        matrix: verdict_matrix(of),
        levels: level_table(of),
        values: value_table(of),
        peaks: peak_table(of),
        equal_levels: of
            .compared_pairs()
            .into_iter()
            .map(|(arm, control)| equal_level_table(of, arm, control))
            .collect(),
        explanations: explanations_table(of),
        software_sentences: software_sentences(of),
        software: software_table(of),
        outputs_sentence: outputs_sentence(of).unwrap_or_default(),
        outputs: outputs_table(of),
        replicas: replicas_table(of),
        generator_sentence: generator_sentence(of).unwrap_or_default(),
        generator_notes: generator_notes(of),
        generator: generator_table(of),
        answers: answer_sentences(of),
    }
}

#[cfg(test)]
mod tests {
    use super::marked;

    #[test]
    fn what_stands_between_backticks_is_code_and_all_is_escaped() {
        assert_eq!(marked("add `a<b` & `c`"), "add <code>a&lt;b</code> &amp; <code>c</code>");
        assert_eq!(marked("one ` alone"), "one ` alone");
        assert_eq!(marked(""), "");
    }
}
