//! The files that a run's results depend on. A run is identified by their contents, not by their
//! paths.

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
use crate::plan::{LiveTarget, Plan, Target};

/// Bytes read at once; traces may be larger than memory.
const PART_BYTES: usize = 1 << 16;

pub(super) fn digests(plan: &mut Plan) -> Result<(), SpecError> {
    let levels = plan.deployments.iter().flat_map(|deployment| &deployment.levels);
    let traces = levels.filter_map(|level| match &level.workload {
        WorkloadConfig::Trace(file) => Some(&file.path),
        _ => None,
    });
    for path in traces.chain(&plan.client.tokenizer) {
        if !plan.inputs.contains_key(path) {
            plan.inputs.insert(path.clone(), digest(path)?);
        }
    }
    Ok(())
}

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

/// A run can be resumed from any folder.
pub(super) fn locate(plan: &mut Plan) {
    let inputs = std::mem::take(&mut plan.inputs);
    plan.inputs = inputs.into_iter().map(|(path, digest)| (absolute(path), digest)).collect();
    for path in paths(plan) {
        *path = absolute(std::mem::take(path));
    }
    match &mut plan.target {
        Target::Simulated | Target::Live(LiveTarget::Endpoint(_)) => {}
        Target::Live(LiveTarget::Emulated(target)) => {
            target.disk = target.disk.take().map(absolute);
        }
        Target::Live(LiveTarget::Kubernetes(target)) => {
            for file in [&mut target.kubeconfig, &mut target.token_file, &mut target.ca_file] {
                *file = file.take().map(absolute);
            }
        }
        Target::Live(LiveTarget::Local(target)) => {
            target.disk = target.disk.take().map(absolute);
            for word in [&mut target.python, &mut target.weights].into_iter().flatten() {
                // A program found by its name has no folder.
                if word.contains('/') && Path::new(word).exists() {
                    *word = absolute(std::mem::take(word));
                }
            }
        }
    }
}

fn paths(plan: &mut Plan) -> Vec<&mut String> {
    let mut found: Vec<&mut String> = Vec::new();
    for deployment in &mut plan.deployments {
        found.extend(deployment.levels.iter_mut().filter_map(|level| match &mut level.workload {
            WorkloadConfig::Trace(file) => Some(&mut file.path),
            _ => None,
        }));
        let stores = deployment.arms.iter_mut().filter_map(|arm| arm.store_access.as_mut());
        found.extend(stores.filter_map(|store| store.password_file.as_mut()));
    }
    found.extend(plan.client.tokenizer.as_mut());
    if let Target::Live(LiveTarget::Endpoint(endpoint)) = &mut plan.target {
        found.extend([&mut endpoint.bearer_file, &mut endpoint.ca_file].into_iter().flatten());
    }
    found
}

fn absolute(path: String) -> String {
    std::path::absolute(&path).map_or(path, |path| path.display().to_string())
}

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
    /// The plan with contents in place of the paths of files. Files that only give access
    /// (passwords, certificates) are not part of it.
    pub(super) fn without_paths(&self) -> Self {
        let mut plan = self.clone();
        let inputs = std::mem::take(&mut plan.inputs);
        for path in paths(&mut plan) {
            *path = inputs.get(path).cloned().unwrap_or_default();
        }
        plan.inputs = inputs.into_values().map(|digest| (digest, String::new())).collect();
        plan
    }

    /// Checks that input files have not changed: cells of different traces must not be in one run.
    pub fn check_inputs(&self) -> Result<(), SpecError> {
        for (path, planned) in &self.inputs {
            if digest(path)? != *planned {
                return Err(SpecError::InputChanged { path: path.clone() });
            }
        }
        Ok(())
    }
}
