//! The repeats of an arm beside those of its control.

use std::collections::BTreeMap;

use weir_model::quantity::Tolerance;

use crate::metric::Metric;
use crate::precision::is_comparable;
use crate::results::{CellResult, Group};

/// Pairs values of the repeats that count in both groups and are exact enough for the metric.
/// `most`: the user's largest error.
pub(super) fn pairs(
    metric: &Metric,
    most: Option<Tolerance>,
    control: &Group<'_>,
    arm: &Group<'_>,
) -> Vec<(f64, f64)> {
    let base: BTreeMap<u32, &CellResult> = control.counted().collect();
    arm.counted()
        .filter_map(|(repeat, result)| {
            let base = base.get(&repeat)?;
            let pair = ((metric.of)(base)?, (metric.of)(result)?);
            is_comparable(metric, most, base, result).then_some(pair)
        })
        .collect()
}
