//! All files written of a run, as paths and bytes. Equal results give equal bytes.

use crate::charts::{charts, png_bytes, svg_text};
use crate::comparison::Comparison;
use crate::error::ReportError;
use crate::files::{
    cells_csv, changes_csv, columns_reference, outputs_csv, peaks_csv, prediction_csv,
    replicas_csv, summary_json,
};
use crate::page;
use crate::results::Results;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Path in the run folder, with `/`.
    pub path: String,
    pub bytes: Vec<u8>,
}

fn artifact(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Artifact {
    Artifact { path: path.into(), bytes: bytes.into() }
}

/// The files of `analysis/`.
pub fn analysis(results: &Results<'_>, of: &Comparison) -> Result<Vec<Artifact>, ReportError> {
    let mut files = vec![
        artifact("analysis/summary.json", summary_json(of)?),
        artifact("analysis/columns.md", columns_reference()),
        artifact("analysis/all_peak_metrics.csv", peaks_csv(of)?),
        artifact("analysis/performance_comparisons.csv", changes_csv(of)?),
    ];
    if let Some(bytes) = outputs_csv(of)? {
        files.push(artifact("analysis/outputs.csv", bytes));
    }
    if let Some(bytes) = replicas_csv(of)? {
        files.push(artifact("analysis/replicas.csv", bytes));
    }
    if let Some(prediction) = &of.prediction {
        files.push(artifact("analysis/prediction.csv", prediction_csv(prediction)?));
    }
    for (name, bytes) in cells_csv(results, of)? {
        files.push(artifact(format!("analysis/{name}"), bytes));
    }
    Ok(files)
}

/// As (file name, bytes).
pub fn plots(of: &Comparison) -> Result<Vec<(String, Vec<u8>)>, ReportError> {
    let mut files = Vec::new();
    for chart in charts(of) {
        files.push((format!("{}.png", chart.id()), png_bytes(&chart)?));
        files.push((format!("{}.svg", chart.id()), svg_text(&chart)?.into_bytes()));
    }
    Ok(files)
}

/// The files of `report/`: Markdown, HTML and pictures.
pub fn report(of: &Comparison) -> Result<Vec<Artifact>, ReportError> {
    let mut files = vec![
        artifact("report/report.md", page::markdown(of)),
        artifact("report/report.html", page::html(of)?),
    ];
    for (name, bytes) in plots(of)? {
        files.push(artifact(format!("report/plots/{name}"), bytes));
    }
    Ok(files)
}
