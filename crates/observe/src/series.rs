//! Samples as rows of `series.parquet`.

use weir_model::Nanos;

use crate::clock::UnixNanos;
use crate::snapshot::Snapshot;

/// One sample. The same shape as `weir-record`'s row, which this crate need not know.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// When, from the start of the cell.
    pub time: Nanos,
    /// Where it was seen: an endpoint, `host`, ...
    pub source: String,
    /// The metric's own name.
    pub metric: String,
    /// Its labels as in an exposition, sorted by name; empty without labels.
    pub labels: String,
    /// The value, in the metric's own unit. Counters as the source counts, not as differences.
    pub value: f64,
}

/// The rows of a snapshot, by name and labels. Buckets and creation times are left out: the first
/// are many, the second do not change. Nothing for a snapshot from before the start of the cell.
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
