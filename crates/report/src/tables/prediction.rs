//! Predictions of a simulation beside measurements.

use std::fmt::Write;

use weir_model::TierKind;

use super::{Table, TableCell, Tone};
use crate::comparison::{PredictedGroup, PredictedMetric, PredictedTokens, PredictionComparison};
use crate::metric::metric;
use crate::numerals;

pub fn prediction_sentence(of: &PredictionComparison) -> String {
    let judged = |exact: bool| {
        let groups = of.groups.iter().filter(move |group| group.exact == exact);
        groups.flat_map(|group| &group.tokens).filter_map(|tokens| tokens.holds)
    };
    let count = |exact| (judged(exact).filter(|holds| *holds).count(), judged(exact).count());
    let mut parts = Vec::new();
    let (held, all) = count(true);
    if all > 0 {
        parts.push(format!("{held} of {all} are equal to the token where requests are sequential"));
    }
    let (held, all) = count(false);
    if all > 0 {
        parts.push(format!(
            "{held} of {all} are within {} % of the prompt tokens where requests overlap, LMCache's \
             server evicted by the clock, or the runs did not ask the same",
            numerals::axis(of.tolerance_percent)
        ));
    }
    if parts.is_empty() {
        return format!("Simulated run {} beside this one: no cell counts in both.", of.predicted);
    }
    let mut words = format!(
        "Simulated run {} beside this one. Hit tokens per tier: {}.",
        of.predicted,
        parts.join("; ")
    );
    for key in ["output_tokens_per_s", "ttft_mean_ms", "tpot_mean_ms"] {
        let errors = || {
            let metrics = of.groups.iter().flat_map(|group| &group.metrics);
            metrics.filter(|seen| seen.metric == key).map(|seen| seen.error_percent)
        };
        if let (Some(least), Some(most), Some(metric)) =
            (errors().reduce(f64::min), errors().reduce(f64::max), metric(key))
        {
            let (least, most) = (numerals::percent(least), numerals::percent(most));
            let range = if least == most { least } else { format!("{least} to {most}") };
            let _ = write!(words, " The prediction of {} errs by {range}.", metric.title);
        }
    }
    words
}

/// Per arm and level: tokens by place and metrics, predicted and measured.
pub fn prediction_table(of: &PredictionComparison) -> Table {
    let title = "Prediction against measurement (%: of hits, points of the prompt tokens; of \
                 metrics, the prediction's error)";
    let heads = ["arm", "level", "what", ">predicted", ">measured", ">difference", ">%", "holds"];
    let mut table = Table::new(title, &heads);
    let mut last = "";
    for group in &of.groups {
        let arm = if group.arm == last { "" } else { group.arm.as_str() };
        last = &group.arm;
        let rows = group.tokens.iter().map(|tokens| token_cells(group, tokens));
        let rows = rows.chain(group.metrics.iter().map(metric_cells));
        for (place, cells) in rows.enumerate() {
            let (arm, level) = if place == 0 { (arm, group.level.as_str()) } else { ("", "") };
            let mut row: Vec<TableCell> = vec![arm.into(), level.into()];
            row.extend(cells);
            table.rows.push(row);
        }
    }
    table
}

/// Per arm and level: errors of hits and metrics.
pub fn prediction_short_table(of: &PredictionComparison) -> Table {
    const METRICS: [&str; 3] = ["output_tokens_per_s", "ttft_mean_ms", "tpot_mean_ms"];
    let title = "Hits: measured - predicted, points of the prompt tokens; others: the prediction's \
                 error";
    let heads =
        ["arm", "level", ">GPU", ">host", ">disk", ">remote", ">tok/s", ">TTFT", ">TPOT", "hits"];
    let mut table = Table::new(title, &heads);
    let mut last = "";
    for group in &of.groups {
        let arm = if group.arm == last { "" } else { group.arm.as_str() };
        last = &group.arm;
        let mut row: Vec<TableCell> = vec![arm.into(), group.level.as_str().into()];
        row.extend(TierKind::ALL.map(|tier| {
            let is_here = |of: &&PredictedTokens| of.tier == Some(tier);
            let Some(tokens) = group.tokens.iter().find(is_here) else {
                return TableCell::default();
            };
            tokens.difference_percent.map_or("?".into(), |points| numerals::percent(points).into())
        }));
        row.extend(METRICS.map(|key| {
            let seen = group.metrics.iter().find(|seen| seen.metric == key);
            seen.map_or("-".into(), |seen| numerals::percent(seen.error_percent).into())
        }));
        row.push(held_cell(group));
        table.rows.push(row);
    }
    table
}

fn held_cell(group: &PredictedGroup) -> TableCell {
    let judged = || group.tokens.iter().filter_map(|tokens| tokens.holds);
    let (text, tone) = match (judged().next().is_some(), judged().all(|holds| holds)) {
        (false, _) => ("not observable", Tone::Out),
        (_, true) if group.exact => ("exact", Tone::Good),
        (_, true) => ("within tolerance", Tone::Good),
        (_, false) if group.exact => ("not exact", Tone::Bad),
        (_, false) => ("beyond tolerance", Tone::Bad),
    };
    TableCell { text: text.to_owned(), tone }
}

fn token_cells(group: &PredictedGroup, tokens: &PredictedTokens) -> [TableCell; 6] {
    let count = |value: Option<f64>| {
        value.map_or_else(|| "not observable".to_owned(), numerals::whole).into()
    };
    let what = match tokens.place {
        "prompt" => "prompt tokens".to_owned(),
        "gpu" => "hits GPU".to_owned(),
        place => format!("hits {place}"),
    };
    let holds = match (tokens.holds, group.exact) {
        (None, _) => TableCell::default(),
        (Some(true), true) => TableCell { text: "exact".to_owned(), tone: Tone::Good },
        (Some(true), false) => TableCell { text: "yes".to_owned(), tone: Tone::Good },
        (Some(false), true) => TableCell { text: "no, not exact".to_owned(), tone: Tone::Bad },
        (Some(false), false) => TableCell { text: "no".to_owned(), tone: Tone::Bad },
    };
    [
        what.into(),
        count(tokens.predicted),
        count(tokens.measured),
        tokens.difference.map_or_else(String::new, signed).into(),
        tokens.difference_percent.map_or_else(String::new, numerals::percent).into(),
        holds,
    ]
}

fn signed(value: f64) -> String {
    let sign = if value > 0.0 { "+" } else { "" };
    format!("{sign}{}", numerals::whole(value))
}

fn metric_cells(seen: &PredictedMetric) -> [TableCell; 6] {
    let (title, unit) =
        metric(seen.metric).map_or((seen.metric, ""), |metric| (metric.title, metric.unit));
    [
        format!("{title} ({unit})").into(),
        numerals::plain(seen.predicted).into(),
        numerals::plain(seen.measured).into(),
        TableCell::default(),
        numerals::percent(seen.error_percent).into(),
        TableCell::default(),
    ]
}
