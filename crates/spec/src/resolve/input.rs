//! Digests of the files that a run's results depend on: traces and link profiles.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use weir_workload::WorkloadConfig;
use xxhash_rust::xxh3::Xxh3;

use crate::catalogue::profile_file;
use crate::document::arm::ArmSection;
use crate::document::written::NameOr;
use crate::error::SpecError;
use crate::experiment::Experiment;
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

/// The link profiles that the arms and their overrides name.
pub(super) fn profiles(experiment: &Experiment) -> Result<BTreeMap<String, String>, SpecError> {
    let spec = &experiment.spec;
    let written = spec.arms.iter().filter_map(|arm| match arm {
        NameOr::Map(section) => Some(section),
        NameOr::Name(_) => None,
    });
    let changes = spec.overrides.values().flat_map(|change| change.arms.values());
    let mut found = BTreeMap::new();
    for name in written.chain(changes).flat_map(named) {
        let path = experiment.base.join(name).display().to_string();
        let digest = digest(&path)?;
        found.insert(path, digest);
    }
    Ok(found)
}

/// The files among the profiles of an arm.
fn named(arm: &ArmSection) -> impl Iterator<Item = &str> {
    let disk = arm.disk.as_ref().and_then(|disk| disk.profile.as_deref());
    let store = arm.store.as_ref().and_then(|store| store.profile.as_deref());
    disk.into_iter().chain(store).filter(|name| profile_file::is_file(name))
}

fn digest(path: &str) -> Result<String, SpecError> {
    let failed = |source| SpecError::Read { what: "the file", path: path.into(), source };
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
