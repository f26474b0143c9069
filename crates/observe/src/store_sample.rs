//! What a store says of itself at one moment, as rows of `series.parquet`.

use crate::clock::UnixNanos;
use crate::labels::Labels;
use crate::series::Row;

#[derive(Debug, Clone, PartialEq)]
pub struct StoreFigure {
    /// Its name; counters end in `_total`.
    pub metric: String,
    /// The server's address, without secrets.
    pub server: String,
    /// The value, as the server counts it.
    pub value: f64,
}

/// The figures of a store at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreSample {
    pub at: UnixNanos,
    /// The source of its rows: `redis INFO`.
    pub source: String,
    /// What it says; what it does not say is absent.
    pub figures: Vec<StoreFigure>,
}

impl StoreSample {
    /// Its rows, in time from the start of the cell. Nothing for a sample from before it.
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
