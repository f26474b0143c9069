//! Traces of the levels: unit and block size are found once, and written into the plan.

use std::path::Path;

use weir_workload::WorkloadConfig;
use weir_workload::config::TraceFile;
use weir_workload::trace::reading::TraceReading;

use crate::error::SpecError;
use crate::plan::{Deployment, LevelLoad};

/// Once for all levels that replay it in the same way.
pub(super) fn read(deployments: &mut [Deployment]) -> Result<Vec<TraceReading>, SpecError> {
    let mut known: Vec<(TraceFile, bool, Option<TraceReading>)> = Vec::new();
    for level in deployments.iter_mut().flat_map(|deployment| &mut deployment.levels) {
        let WorkloadConfig::Trace(file) = &mut level.workload else { continue };
        let is_timed = matches!(level.load, LevelLoad::Trace { .. });
        let before = known.iter().position(|(asked, timed, _)| asked == file && *timed == is_timed);
        let place = if let Some(place) = before {
            place
        } else {
            let reading = TraceReading::of(file, Path::new(""), is_timed)?;
            known.push((file.clone(), is_timed, reading));
            known.len() - 1
        };
        if let Some(reading) = &known[place].2 {
            file.block_tokens = Some(reading.block_tokens);
            file.time_unit = Some(reading.time_unit);
        }
    }
    Ok(known.into_iter().filter_map(|(_, _, reading)| reading).collect())
}
