//! A store's figures at one moment, as rows of `series.parquet`.

use crate::clock::UnixNanos;
use crate::labels::Labels;
use crate::series::Row;

#[derive(Debug, Clone, PartialEq)]
pub struct StoreFigure {
    /// Counters end in `_total`.
    pub metric: String,
    /// Address without secrets.
    pub server: String,
    pub value: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct StoreSample {
    pub at: UnixNanos,
    /// Such as `redis INFO`.
    pub source: String,
    /// Missing ones are absent.
    pub figures: Vec<StoreFigure>,
}

impl StoreSample {
    /// In time from the start of the cell; empty before it.
    pub(crate) fn rows(&self, start: UnixNanos) -> Vec<Row> {
        let Some(time) = self.at.since(start) else { return Vec::new() };
        let row = |figure: &StoreFigure| Row {
            time,
            source: self.source.clone(),
            metric: figure.metric.clone(),
            labels: Labels::one("server", &figure.server).to_string(),
            value: figure.value,
        };
        self.figures.iter().map(row).collect()
    }
}
