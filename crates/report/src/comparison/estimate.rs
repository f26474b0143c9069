//! A metric's mean over the repeats that count, with its interval.

use serde::Serialize;

use crate::metric::{Metric, THROUGHPUT};
use crate::results::CellResult;
use crate::statistics::{CONFIDENCE, Interval, Method, batch_means, mean, t_interval};

/// In the metric's unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    pub mean: f64,
    /// Over repeats; with one repeat, of batch means where batches were recorded.
    pub interval: Option<Interval>,
    pub repeats: usize,
}

impl Estimate {
    /// `counted`: results that count. None where none has a value.
    pub fn of(metric: &Metric, counted: &[&CellResult]) -> Option<Self> {
        let values: Vec<f64> = counted.iter().filter_map(|result| metric.exact(result)).collect();
        let interval = match counted {
            [only] if metric.key == THROUGHPUT => batch_means(&only.throughput_batches, CONFIDENCE),
            _ => t_interval(&values, CONFIDENCE, Method::TOverRepeats),
        };
        Some(Self { mean: mean(&values)?, interval, repeats: values.len() })
    }
}
