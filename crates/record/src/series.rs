//! `series.parquet`: samples of what was observed beside the requests.

use weir_model::Nanos;

use crate::table::table;

/// One sample: a row of `series.parquet`.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesRow {
    /// When, from the start of the cell.
    pub time: Nanos,
    /// Where it was seen: `simulator`, `vllm:/metrics`, `redis INFO`, ...
    pub source: String,
    /// The metric's own name.
    pub metric: String,
    /// Its labels as in an exposition, sorted by name (`a="1",b="2"`); empty without labels.
    pub labels: String,
    /// The value, in the metric's own unit.
    pub value: f64,
}

table! {
    /// The columns of `series.parquet`. Times count from the start of the cell.
    SeriesTable of SeriesRow, columns SeriesColumn;
    push |table, row| {
        table.time.push(row.time);
        table.source.push(row.source.clone());
        table.metric.push(row.metric.clone());
        table.labels.push(row.labels.clone());
        table.value.push(row.value);
    };
    row |table, i| SeriesRow {
        time: table.time[i],
        source: table.source[i].clone(),
        metric: table.metric[i].clone(),
        labels: table.labels[i].clone(),
        value: table.value[i],
    };
    Time time: Vec<Nanos>, "time_ns", "ns", Delta,
        "When the sample was taken";
    Source source: Vec<String>, "source", "text", Dictionary,
        "Where it was seen";
    Metric metric: Vec<String>, "metric", "text", Dictionary,
        "The metric's own name";
    Labels labels: Vec<String>, "labels", "text", Dictionary,
        "Its labels as in an exposition, sorted by name; empty without labels";
    Value value: Vec<f64>, "value", "the metric's", Plain,
        "The value";
}
