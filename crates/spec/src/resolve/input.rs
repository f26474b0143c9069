//! Digests of the files that a workload is read from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use weir_workload::WorkloadConfig;
use xxhash_rust::xxh3::Xxh3;

use crate::error::SpecError;
use crate::plan::{Deployment, Plan};

/// Read at once; traces may be larger than memory.
const PART_BYTES: usize = 1 << 16;

/// Each trace of the levels, once.
pub(super) fn digests(deployments: &[Deployment]) -> Result<BTreeMap<String, String>, SpecError> {
    let mut found = BTreeMap::new();
    for level in deployments.iter().flat_map(|deployment| &deployment.levels) {
        if let WorkloadConfig::Trace(file) = &level.workload
            && !found.contains_key(&file.path)
        {
            found.insert(file.path.clone(), digest(&file.path)?);
        }
    }
    Ok(found)
}

fn digest(path: &str) -> Result<String, SpecError> {
    let failed = |source| SpecError::Read { what: "the trace", path: path.into(), source };
    let mut file = BufReader::new(File::open(Path::new(path)).map_err(failed)?);
    let mut hasher = Xxh3::new();
    let mut part = vec![0; PART_BYTES];
    loop {
        let count = file.read(&mut part).map_err(failed)?;
        if count == 0 {
            return Ok(format!("{:032x}", hasher.digest128()));
        }
        hasher.update(&part[..count]);
    }
}

impl Plan {
    /// Checks that the files the plan was made from are what they were: cells of different traces
    /// must not stand in one run.
    pub fn check_inputs(&self) -> Result<(), SpecError> {
        for (path, planned) in &self.inputs {
            if digest(path)? != *planned {
                return Err(SpecError::InputChanged { path: path.clone() });
            }
        }
        Ok(())
    }
}
