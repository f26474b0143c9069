//! What the user should know before running, one sentence each.

use std::collections::BTreeSet;

use weir_model::{Bytes, TierKind};

use crate::catalogue::links;
use crate::document::Spec;
use crate::document::written::NameOr;
use crate::plan::{Arm, ArmRole, Deployment};

/// All warnings, without repetitions, in the order of the deployments.
pub(super) fn all(spec: &Spec, deployments: &[Deployment]) -> Vec<String> {
    let mut warnings = Vec::new();
    for deployment in deployments {
        hardware(deployment, &mut warnings);
        for arm in &deployment.arms {
            capacity(deployment, arm, &mut warnings);
            sources(arm, &mut warnings);
        }
    }
    for entry in &spec.arms {
        if let NameOr::Map(section) = entry
            && let Some(address) = section.store.as_ref().and_then(|store| store.address.as_ref())
        {
            warnings.push(format!(
                "The store at {address} is not contacted: the simulated target models one."
            ));
        }
    }
    let mut seen = BTreeSet::new();
    warnings.retain(|warning| seen.insert(warning.clone()));
    warnings
}

fn hardware(deployment: &Deployment, warnings: &mut Vec<String>) {
    let hardware = &deployment.hardware;
    if !hardware.accelerator.calibrated {
        warnings.push(format!(
            "The timing constants of {} were not fitted on it but taken from a relative: trust \
             comparisons on it more than absolute figures.",
            hardware.accelerator.name
        ));
    }
    if deployment.tensor_parallel < hardware.count {
        warnings.push(format!(
            "Tensor parallelism {} leaves {} of the {} accelerators of {} idle.",
            deployment.tensor_parallel,
            hardware.count - deployment.tensor_parallel,
            hardware.count,
            hardware.name
        ));
    }
}

/// A tier below the GPU that is smaller than the GPU's own pool mostly holds copies of it.
fn capacity(deployment: &Deployment, arm: &Arm, warnings: &mut Vec<String>) {
    let Some(offload) = &arm.offload else { return };
    let engine = &deployment.engine;
    let pool = Bytes(
        u64::from(engine.blocks) * u64::from(engine.block_size) * engine.kv_bytes_per_token,
    );
    let local: Bytes = offload.tiers.iter().map(|tier| tier.capacity).max().unwrap_or(Bytes::ZERO);
    // A store is shared: each replica's part of it counts.
    let shared = offload.store.as_ref().map_or(Bytes::ZERO, |store| {
        Bytes(store.capacity.0 / u64::from(deployment.replicas))
    });
    let largest = local.max(shared);
    if largest < pool {
        warnings.push(format!(
            "The largest tier of {} ({largest}) is smaller than the GPU pool of {} on {} ({pool}): \
             it mostly holds copies of what the GPU has.",
            arm.name, deployment.model.name, deployment.label
        ));
    }
}

fn sources(arm: &Arm, warnings: &mut Vec<String>) {
    if arm.role == ArmRole::ControlAgain {
        warnings.push(format!(
            "In simulation {} gives the same figures as its control: there is no noise to show.",
            arm.name
        ));
    }
    let Some(store) = arm.offload.as_ref().and_then(|offload| offload.store.as_ref()) else {
        return;
    };
    if let Some(profile) = links::find(&links::STORES, &store.product)
        && !profile.measured
        && store.link == profile.link()
    {
        warnings.push(format!(
            "The {} figures of {} for {} are assumptions ({}): give `store.link` figures of your \
             own.",
            TierKind::Remote,
            arm.name,
            profile.name,
            profile.source
        ));
    }
}
