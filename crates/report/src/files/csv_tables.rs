//! The CSV files.

use std::collections::BTreeMap;

use super::columns::{
    Column, cell_columns, change_columns, output_columns, peak_columns, prediction_columns,
    replica_columns, run_columns,
};
use crate::comparison::{
    Comparison, DeploymentComparison, LevelNote, PredictionComparison, RunComparison,
};
use crate::error::ReportError;
use crate::metric::{METRICS, metric};
use crate::oracle::OutputRemark;
use crate::results::{Entry, Grid, Results};
use crate::statistics::Interval;
use crate::words;

/// Rows must be as long as the header.
struct File {
    name: &'static str,
    writer: csv::Writer<Vec<u8>>,
}

impl File {
    fn new(name: &'static str, columns: &[Column]) -> Result<Self, ReportError> {
        let mut file = Self { name, writer: csv::Writer::from_writer(Vec::new()) };
        let header: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        file.row(&header)?;
        Ok(file)
    }

    fn row(&mut self, fields: &[String]) -> Result<(), ReportError> {
        let failed = |source| ReportError::Csv { file: self.name, source };
        self.writer.write_record(fields).map_err(failed)
    }

    fn bytes(self) -> Result<Vec<u8>, ReportError> {
        let failed = |source: csv::IntoInnerError<_>| ReportError::Csv {
            file: self.name,
            source: source.into_error().into(),
        };
        self.writer.into_inner().map_err(failed)
    }
}

fn number(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map_or(String::new(), |value| value.to_string())
}

fn yes_no(holds: bool) -> String {
    if holds { "yes" } else { "no" }.to_owned()
}

fn ends(interval: Option<&Interval>) -> [String; 2] {
    [number(interval.map(|seen| seen.low)), number(interval.map(|seen| seen.high))]
}

pub fn peaks_csv(of: &Comparison) -> Result<Vec<u8>, ReportError> {
    let mut file = File::new("all_peak_metrics.csv", &peak_columns())?;
    for deployment in &of.deployments {
        for row in &deployment.peaks {
            let peak = row.peak.as_ref();
            let [low, high] = ends(peak.and_then(|peak| peak.interval.as_ref()));
            let share = peak.and_then(|peak| peak.selection.get(peak.level).copied());
            let change = row.change;
            let [change_low, change_high] =
                ends(change.as_ref().and_then(|change| change.interval.as_ref()));
            let mut fields = vec![
                deployment.model.clone(),
                deployment.hardware.clone(),
                row.arm.clone(),
                row.level.clone().unwrap_or_default(),
                number(peak.map(|peak| peak.value)),
                low,
                high,
                number(share),
                peak.map_or(String::new(), |peak| peak.repeats.to_string()),
                row.control.clone().unwrap_or_default(),
                row.control_level.clone().unwrap_or_default(),
                number(change.map(|change| change.percent)),
                change_low,
                change_high,
                row.note.clone(),
            ];
            let group = row.level.as_ref().and_then(|level| deployment.group(&row.arm, level));
            fields.extend(METRICS.iter().map(|metric| {
                number(group.and_then(|group| Some(group.metrics.get(metric.key)?.mean)))
            }));
            file.row(&fields)?;
        }
    }
    file.bytes()
}

pub fn changes_csv(of: &Comparison) -> Result<Vec<u8>, ReportError> {
    let mut file = File::new("performance_comparisons.csv", &change_columns())?;
    for deployment in &of.deployments {
        for delta in &deployment.deltas {
            let Some(metric) = metric(delta.metric) else {
                continue;
            };
            for seen in &delta.levels {
                let change = seen.change.as_ref();
                let [low, high] = ends(change.and_then(|change| change.interval.as_ref()));
                let floor = deployment
                    .noise_floor
                    .percent
                    .get(metric.key)
                    .and_then(|levels| levels.get(&seen.level).copied());
                let verdict = deployment
                    .group(&delta.arm, &seen.level)
                    .map_or(String::new(), |group| group.verdict.words());
                file.row(&[
                    deployment.model.clone(),
                    deployment.hardware.clone(),
                    delta.arm.clone(),
                    delta.control.clone(),
                    seen.level.clone(),
                    metric.key.to_owned(),
                    metric.unit_in(&of.currency).to_owned(),
                    metric.better.name().to_owned(),
                    number(seen.control_mean),
                    number(seen.arm_mean),
                    number(change.map(|change| change.percent)),
                    low,
                    high,
                    change.map_or(0, |change| change.pairs).to_string(),
                    number(floor),
                    yes_no(seen.distinguishable),
                    verdict,
                    seen.note.clone(),
                ])?;
            }
        }
    }
    file.bytes()
}

/// `<model>_<arm>_metrics.csv`, by file name: all hardware of a model in one file.
pub fn cells_csv(
    results: &Results<'_>,
    of: &Comparison,
) -> Result<BTreeMap<String, Vec<u8>>, ReportError> {
    let grid = Grid::of(results);
    let mut files: BTreeMap<String, File> = BTreeMap::new();
    for (index, deployment) in of.deployments.iter().enumerate() {
        for (arm_index, arm) in deployment.arms.iter().enumerate() {
            let name = format!("{}_{}_metrics.csv", deployment.model_slug, arm.name);
            if !files.contains_key(&name) {
                files
                    .insert(name.clone(), File::new("<model>_<arm>_metrics.csv", &cell_columns())?);
            }
            let Some(file) = files.get_mut(&name) else {
                continue;
            };
            for level in &deployment.levels {
                for entry in &grid.group(index, arm_index, level.index).entries {
                    file.row(&cell_row(deployment, &arm.name, level, entry))?;
                }
            }
        }
    }
    files.into_iter().map(|(name, file)| Ok((name, file.bytes()?))).collect()
}

fn cell_row(
    deployment: &DeploymentComparison,
    arm: &str,
    level: &LevelNote,
    entry: &Entry<'_>,
) -> Vec<String> {
    let result = entry.result;
    let mut fields = vec![
        deployment.model.clone(),
        deployment.hardware.clone(),
        arm.to_owned(),
        level.name.clone(),
        level.load.clone(),
        entry.cell.repeat.to_string(),
        entry.cell.seed.to_string(),
        result.map_or("not run".to_owned(), |result| words::verdict(&result.verdict())),
        yes_no(result.is_some_and(super::super::results::CellResult::counts)),
        result.map_or(String::new(), |result| result.record.attempts.to_string()),
    ];
    // Bounds are not values: a reader who averages the column must not get them.
    let measured = result.filter(|result| result.refusal().is_none());
    fields.extend(
        METRICS.iter().map(|metric| number(measured.and_then(|result| metric.exact(result)))),
    );
    fields
}

/// `outputs.csv`; None where no answers were compared.
pub fn outputs_csv(of: &Comparison) -> Result<Option<Vec<u8>>, ReportError> {
    if of.deployments.iter().all(|deployment| deployment.outputs.is_empty()) {
        return Ok(None);
    }
    let count = |count: Option<u64>| count.map_or(String::new(), |count| count.to_string());
    let mut file = File::new("outputs.csv", &output_columns())?;
    for deployment in &of.deployments {
        for note in &deployment.outputs {
            file.row(&[
                deployment.model.clone(),
                deployment.hardware.clone(),
                note.arm.clone(),
                note.level.clone(),
                note.compared.to_string(),
                note.mismatches.to_string(),
                number(note.percent),
                count(note.floor_compared),
                count(note.floor_mismatches),
                number(note.p_value),
                note.outcome.name().to_owned(),
                note.note.map_or_else(String::new, OutputRemark::words),
            ])?;
        }
    }
    file.bytes().map(Some)
}

/// `replicas.csv`; None where no arm had several.
pub fn replicas_csv(of: &Comparison) -> Result<Option<Vec<u8>>, ReportError> {
    if of.deployments.iter().all(|deployment| deployment.balance.is_empty()) {
        return Ok(None);
    }
    let mut file = File::new("replicas.csv", &replica_columns())?;
    for deployment in &of.deployments {
        for note in &deployment.balance {
            file.row(&[
                deployment.model.clone(),
                deployment.hardware.clone(),
                note.arm.clone(),
                note.level.clone(),
                note.address.clone(),
                note.completed.to_string(),
                number(note.share_percent),
                note.prompt_tokens.to_string(),
                note.hit_tokens.to_string(),
                number(note.hit_percent),
                number(note.mean_waiting),
            ])?;
        }
    }
    file.bytes().map(Some)
}

pub fn prediction_csv(of: &PredictionComparison) -> Result<Vec<u8>, ReportError> {
    let mut file = File::new("prediction.csv", &prediction_columns())?;
    for group in &of.groups {
        let row = |quantity: String, unit: &str, values: [Option<f64>; 5], holds: Option<bool>| {
            let mut fields = vec![
                group.model.clone(),
                group.hardware.clone(),
                group.arm.clone(),
                group.level.clone(),
                group.repeats.to_string(),
                yes_no(group.sequential),
                quantity,
                unit.to_owned(),
            ];
            fields.extend(values.map(number));
            fields.push(holds.map_or(String::new(), yes_no));
            fields
        };
        for tokens in &group.tokens {
            let quantity = match tokens.place {
                "prompt" => "prompt_tokens".to_owned(),
                place => format!("hit_tokens_{}", place.replace(' ', "_")),
            };
            let asked = if group.exact { 0.0 } else { of.tolerance_percent };
            let values = [
                tokens.predicted,
                tokens.measured,
                tokens.difference,
                tokens.difference_percent,
                tokens.holds.map(|_| asked),
            ];
            file.row(&row(quantity, "tokens", values, tokens.holds))?;
        }
        for seen in &group.metrics {
            let unit = metric(seen.metric).map_or("", |metric| metric.unit);
            let difference = seen.measured - seen.predicted;
            let values = [seen.predicted, seen.measured, difference, seen.error_percent];
            let [predicted, measured, difference, error] = values.map(Some);
            let values = [predicted, measured, difference, error, None];
            file.row(&row(seen.metric.to_owned(), unit, values, None))?;
        }
    }
    file.bytes()
}

pub fn runs_csv(of: &RunComparison) -> Result<Vec<u8>, ReportError> {
    let mut file = File::new("the comparison of runs", &run_columns())?;
    for delta in &of.deltas {
        let Some(metric) = metric(delta.metric) else {
            continue;
        };
        let change = delta.change.as_ref();
        let [low, high] = ends(change.and_then(|change| change.interval.as_ref()));
        file.row(&[
            delta.model.clone(),
            delta.hardware.clone(),
            delta.arm.clone(),
            delta.level.clone(),
            metric.key.to_owned(),
            metric.unit_in(&of.currency).to_owned(),
            number(delta.first),
            number(delta.second),
            number(change.map(|change| change.percent)),
            low,
            high,
            change.map_or(0, |change| change.pairs).to_string(),
            delta.note.clone(),
        ])?;
    }
    file.bytes()
}
