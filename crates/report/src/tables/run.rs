//! Tables about a run as a whole, or about two runs.

use super::{Table, Tone};
use crate::comparison::{Comparison, RunComparison};
use crate::metric::{METRICS, metric};
use crate::numerals;

/// What each metric is.
pub fn definitions_table() -> Table {
    let mut table = Table::new("", &["metric", "unit", "better", "definition"]);
    for metric in METRICS {
        table.rows.push(vec![
            metric.title.into(),
            metric.unit.into(),
            metric.better.name().into(),
            metric.definition.into(),
        ]);
    }
    table
}

/// Values that are not defaults, with where they come from.
pub fn origins_table(of: &Comparison) -> Table {
    let mut table = Table::new("Values that are not defaults", &["value", "from"]);
    for (path, origin) in &of.origins {
        table.rows.push(vec![path.as_str().into(), origin.as_str().into()]);
    }
    table
}

/// Columns of a file: name, unit, meaning.
pub fn columns_of(title: &str, columns: &[(String, String, String)]) -> Table {
    let mut table = Table::new(title, &["column", "unit", "meaning"]);
    for (name, unit, meaning) in columns {
        table.rows.push(vec![
            name.as_str().into(),
            unit.as_str().into(),
            meaning.as_str().into(),
        ]);
    }
    table
}

/// Two runs: one row per group and metric that changed by at least `least_percent`.
pub fn run_table(of: &RunComparison, least_percent: f64) -> Table {
    let title = format!("From {} to {}", of.first, of.second);
    let heads = [
        "model", "hardware", "arm", "level", "metric", ">first", ">second", ">change", "note",
    ];
    let mut table = Table::new(&title, &heads);
    for delta in &of.deltas {
        let Some(metric) = metric(delta.metric) else { continue };
        let is_small = delta
            .change
            .as_ref()
            .is_some_and(|change| change.percent.abs() < least_percent && delta.note.is_empty());
        if is_small {
            continue;
        }
        let value = |value: Option<f64>| value.map_or("-".to_owned(), numerals::plain);
        let mut change: super::TableCell = delta
            .change
            .as_ref()
            .map_or("-".to_owned(), numerals::change)
            .into();
        if let Some(seen) = &delta.change {
            let gain = metric.better.gain(seen.percent);
            change.tone = if gain >= 0.0 { Tone::Good } else { Tone::Bad };
        }
        table.rows.push(vec![
            delta.model.as_str().into(),
            delta.hardware.as_str().into(),
            delta.arm.as_str().into(),
            delta.level.as_str().into(),
            format!("{} ({})", metric.title, metric.unit).into(),
            value(delta.first).into(),
            value(delta.second).into(),
            change,
            delta.note.as_str().into(),
        ]);
    }
    table
}
