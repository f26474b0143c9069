//! Samples as rows of `series.parquet`.

use weir_model::Nanos;

use crate::clock::UnixNanos;
use crate::snapshot::Snapshot;

/// The same shape as `weir-record`'s row, which this crate does not depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// From the start of the cell.
    pub time: Nanos,
    /// An endpoint, `host`, ...
    pub source: String,
    pub metric: String,
    /// As in an exposition, sorted by name; empty without labels.
    pub labels: String,
    /// In the metric's own unit. Counters are not differences.
    pub value: f64,
}

/// By name and labels, without buckets (too many) and creation times (constant). Empty for a
/// snapshot before the start of the cell.
pub fn rows(snapshot: &Snapshot, start: UnixNanos) -> Vec<Row> {
    let Some(time) = snapshot.at.since(start) else { return Vec::new() };
    let telling = |name: &str| !name.ends_with("_bucket") && !name.ends_with("_created");
    let samples = snapshot.samples().filter(|(name, _)| telling(name));
    let rows = samples.flat_map(|(name, series)| {
        series.iter().map(move |(labels, value)| Row {
            time,
            source: snapshot.endpoint.clone(),
            metric: name.to_owned(),
            labels: labels.to_string(),
            value: *value,
        })
    });
    rows.collect()
}
