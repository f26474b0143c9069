//! Tables about a run as a whole, or about two runs.

use super::{Table, TableCell, Tone};
use crate::comparison::{
    Comparison, DeploymentComparison, PeakRow, RunComparison, RunDelta, WORTH_PERCENT,
};
use crate::metric::{METRICS, metric};
use crate::numerals;
use crate::results::RequestCounts;

/// All deployments: the control's peak, and each arm's change against its control's peak, with
/// levels.
pub fn overview_table(of: &Comparison) -> Table {
    let mut arms: Vec<&str> = Vec::new();
    for arm in of.deployments.iter().flat_map(|deployment| &deployment.arms) {
        if !arms.contains(&arm.name.as_str()) {
            arms.push(&arm.name);
        }
    }
    let title = "Peaks of output throughput: controls in tok/s, other arms as change against their \
                 control's peak, each with the level of its own peak";
    let mut heads = vec!["model", "hardware"];
    heads.extend(&arms);
    let mut table = Table::new(title, &heads);
    for deployment in &of.deployments {
        let mut row: Vec<TableCell> =
            vec![deployment.model.as_str().into(), deployment.hardware.as_str().into()];
        row.extend(arms.iter().map(|arm| {
            let peak = deployment.peaks.iter().find(|row| row.arm == *arm);
            peak.map_or_else(TableCell::default, |row| overview_cell(deployment, row))
        }));
        table.rows.push(row);
    }
    table
}

fn overview_cell(of: &DeploymentComparison, row: &PeakRow) -> TableCell {
    let (Some(peak), Some(level)) = (&row.peak, &row.level) else {
        let verdict = of.groups.iter().find(|group| group.arm == row.arm);
        let text = verdict.map_or(String::new(), |group| group.verdict.words());
        return TableCell { text, tone: Tone::Out };
    };
    let Some(change) = row.change else {
        return format!("{} at {level}", numerals::plain(peak.value)).into();
    };
    let words = numerals::with_doubt(change.percent, change.interval.as_ref());
    let tone = match change.interval {
        Some(interval) if !interval.excludes_zero() => Tone::Weak,
        _ if change.percent.abs() < WORTH_PERCENT => Tone::Weak,
        _ if change.percent > 0.0 => Tone::Good,
        _ => Tone::Bad,
    };
    TableCell { text: format!("{words} at {level}"), tone }
}

/// Which requests figures are of, with their number.
pub fn scope_sentence(of: RequestCounts) -> String {
    if of.measured == 0 {
        return "No cell counts, so no figures are shown.".to_owned();
    }
    let count = |value: u64| numerals::whole(value as f64);
    let mut sentence = format!(
        "Figures speak of the {} requests that were due in the measured windows: {} completed, {} \
         failed, {} open.",
        count(of.measured),
        count(of.completed),
        count(of.failed),
        count(of.open)
    );
    if of.open > 0 {
        sentence += " Open requests had not ended when their cell did, so latencies there are \
                     lower bounds.";
    }
    sentence
}

/// Money in `currency`, where a run has one.
pub fn definitions_table(currency: &str) -> Table {
    let mut table = Table::new("", &["metric", "unit", "better", "definition"]);
    for metric in METRICS {
        table.rows.push(vec![
            metric.title.into(),
            metric.unit_in(currency).into(),
            metric.better.name().into(),
            metric.definition.into(),
        ]);
    }
    for (title, definition) in CHANGES {
        table.rows.push([title, "%", "-", definition].map(TableCell::from).into());
    }
    table
}

/// The definitions of changes, beside those of metrics.
const CHANGES: [(&str, &str); 2] = [
    (
        "Change at the same level",
        "100 x (mean of the arm / mean of its control - 1), both over the repeats that count in \
         both; where the means beside it are over others, it says over how many pairs it is. The \
         interval is Student's t of the ratio of paired means (95 %).",
    ),
    (
        "Change of the peak",
        "100 x (highest mean of the arm over all levels / highest mean of its control - 1). The \
         levels can differ, and the interval (bootstrap) contains the choice of both.",
    ),
];

pub fn origins_table(of: &Comparison) -> Table {
    let mut table = Table::new("Values that are not defaults", &["value", "from"]);
    for (path, origin) in &of.origins {
        table.rows.push(vec![path.as_str().into(), origin.as_str().into()]);
    }
    table
}

pub fn columns_of(title: &str, columns: &[(String, String, String)]) -> Table {
    let mut table = Table::new(title, &["column", "unit", "meaning"]);
    for (name, unit, meaning) in columns {
        table.rows.push(vec![name.as_str().into(), unit.as_str().into(), meaning.as_str().into()]);
    }
    table
}

/// Differences of two runs and their effect on changes; empty where they do not differ.
pub fn run_notes(of: &RunComparison) -> Vec<String> {
    let mut notes = Vec::new();
    if !of.same_plan {
        notes.push("The runs have different plans.".to_owned());
    }
    let ([first, second], [seed, other_seed]) = (of.repeats, of.seeds);
    if first != second {
        let over = if seed == other_seed {
            ": means and changes are over the repeats that both have"
        } else {
            ""
        };
        notes.push(format!(
            "The first run has {first} repeats per cell, the second {second}{over}."
        ));
    }
    if seed != other_seed {
        notes.push(format!(
            "The runs have different seeds ({seed} and {other_seed}): their repeats are not \
             paired, and changes have no interval."
        ));
    }
    notes
}

/// One row per group and metric that changed by at least `least_percent`; a group that counts in
/// only one of the runs has a single row with its verdicts.
pub fn run_table(of: &RunComparison, least_percent: f64) -> Table {
    let mut title = format!("From {} to {}, at the same level", of.first, of.second);
    let mut heads =
        vec!["model", "hardware", "arm", "level", "metric", ">first", ">second", ">change", "note"];
    let where_ran = |delta: &RunDelta| (delta.model.clone(), delta.hardware.clone());
    let first = of.deltas.first().map(where_ran);
    // What is the same everywhere goes into the title.
    let named = if of.deltas.iter().all(|delta| Some(where_ran(delta)) == first) { 2 } else { 0 };
    if let Some((model, hardware)) = first.filter(|_| named > 0) {
        title = format!("{title}: {model} on {hardware}");
    }
    heads.drain(..named);
    let mut table = Table::new(&title, &heads);
    let mut last: Option<[&str; 4]> = None;
    for delta in &of.deltas {
        let Some(metric) = metric(delta.metric) else {
            continue;
        };
        let place = [&*delta.model, &*delta.hardware, &*delta.arm, &*delta.level];
        let is_new = last != Some(place);
        let shown = if is_new { place } else { [""; 4] };
        let mut row: Vec<TableCell> = shown[named..].iter().copied().map(TableCell::from).collect();
        let change = match &delta.change {
            Some(_) if delta.is_small(least_percent) => continue,
            Some(seen) => {
                let gain = metric.better.gain(seen.percent);
                let tone = if gain >= 0.0 { Tone::Good } else { Tone::Bad };
                TableCell { text: numerals::change(seen), tone }
            }
            // A change from zero has no ratio.
            None if delta.first.is_some() && delta.second.is_some() => {
                if delta.first == delta.second {
                    continue;
                }
                TableCell::from("-")
            }
            None if is_new && !delta.note.is_empty() => {
                row.extend(["verdict", "-", "-", "-"].map(TableCell::from));
                row.push(TableCell { text: delta.note.clone(), tone: Tone::Out });
                table.rows.push(row);
                last = Some(place);
                continue;
            }
            None => continue,
        };
        let value = |value: Option<f64>| value.map_or("-".to_owned(), numerals::plain);
        row.push(format!("{} ({})", metric.title, metric.unit_in(&of.currency)).into());
        row.push(value(delta.first).into());
        row.push(value(delta.second).into());
        row.push(change);
        row.push(if is_new { delta.note.as_str() } else { "" }.into());
        table.rows.push(row);
        last = Some(place);
    }
    table
}
