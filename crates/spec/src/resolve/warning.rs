//! Warnings for the user before a run, one sentence each.

use std::collections::BTreeSet;
use std::path::Path;

use weir_engine::EngineConfig;
use weir_model::{Bytes, COLD_SHARE, KvKind, Product, Software, TierKind};

use crate::catalogue::profile_file::{LinkProfileFile, ProfileKind};
use crate::document::Spec;
use crate::document::written::NameOr;
use crate::error::SpecError;
use crate::likeness::{written_differences, written_mechanism};
use crate::plan::{Arm, ArmRole, Deployment, LiveTarget, Movement, Processes, Target};
use weir_model::quantity::Version;

pub(super) fn all(spec: &Spec, deployments: &[Deployment], assumed: &[String]) -> Vec<String> {
    let mut warnings = Vec::new();
    for model in assumed {
        warnings.push(format!(
            "Passes of {model} are timed with 2 bytes per weight: its file does not tell how the \
             weights are stored."
        ));
    }
    for deployment in deployments {
        hardware(deployment, &mut warnings);
        hybrid(deployment, &mut warnings);
        for arm in &deployment.arms {
            sources(spec, arm, &mut warnings);
        }
        without_cache(deployment, &mut warnings);
        if spec.target.starts_vllm() {
            unlike(deployment, &mut warnings);
            written_by_hand(deployment, &mut warnings);
        }
    }
    small_tiers(deployments, &mut warnings);
    for entry in &spec.arms {
        if let NameOr::Map(section) = entry
            && models_stores(&spec.target)
            && let Some(address) = section.store.as_ref().and_then(|store| store.address.as_ref())
        {
            warnings.push(format!(
                "The store at {address} is not contacted: the {} target models one.",
                spec.target.name()
            ));
        }
    }
    let unrouted = |deployment: &Deployment| deployment.arms.iter().any(|arm| !arm.is_routed());
    let is_by_turns = spec.target.local().is_some() || spec.target.kubernetes().is_some();
    if is_by_turns && spec.replicas > 1 && deployments.iter().any(unrouted) {
        warnings.push(format!(
            "On the {} target, sessions of arms without routing go to the replicas in turn.",
            spec.target.name()
        ));
    }
    if !spec.target.starts_vllm() && spec.target.endpoint().is_none() {
        processes(spec, deployments, &mut warnings);
    }
    let mut seen = BTreeSet::new();
    warnings.retain(|warning| seen.insert(warning.clone()));
    warnings
}

fn processes(spec: &Spec, deployments: &[Deployment], warnings: &mut Vec<String>) {
    for arm in deployments.iter().flat_map(|deployment| &deployment.arms) {
        let Processes { vllm_args, env, .. } = &arm.processes;
        if !(vllm_args.is_empty() && env.is_empty()) {
            warnings.push(format!(
                "vllm_args and env of {} do nothing on the {} target: it starts no vLLM.",
                arm.name,
                spec.target.name()
            ));
        }
    }
}

/// Every cache gains against a control without a prefix cache.
fn without_cache(deployment: &Deployment, warnings: &mut Vec<String>) {
    let is_compared = deployment.arms.iter().any(|arm| arm.role == ArmRole::Treatment);
    if is_compared && !deployment.engine.prefix_caching {
        warnings.push(
            "The control has no prefix cache (engine.prefix_caching: false): gains over it are \
             gains over computing every prompt anew."
                .to_owned(),
        );
    }
}

/// Arms whose `vllm_args` or `env` differ from those of the compared arm. Facts of the running
/// software decide; without them the written values do.
fn unlike(deployment: &Deployment, warnings: &mut Vec<String>) {
    let find = |role| deployment.arms.iter().find(|arm| arm.role == role);
    let Some(control) = find(ArmRole::Control) else { return };
    for arm in deployment.arms.iter().filter(|arm| arm.name != control.name) {
        let written = written_differences(arm, control);
        if !written.is_empty() {
            warnings.push(format!(
                "{} may not be comparable with {}, because the file starts them otherwise: {}. \
                 Cells whose software differs in more than the mechanism fail.",
                arm.name,
                control.name,
                written.join(", ")
            ));
        }
    }
}

fn written_by_hand(deployment: &Deployment, warnings: &mut Vec<String>) {
    for arm in &deployment.arms {
        let written = written_mechanism(arm);
        if !written.is_empty() {
            warnings.push(format!(
                "{} of {} take the place of what Weir writes: give its bytes and chunk_tokens in the \
                 arm too, for prediction and verdict go by those. A cell fails where what runs says \
                 that it has others.",
                written.join(", "),
                arm.name
            ));
        }
    }
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

/// What the simulator and the tiers' arithmetic leave out of layers that do not keep every token.
fn hybrid(deployment: &Deployment, warnings: &mut Vec<String>) {
    let model = &deployment.model;
    let layers = model.kv_layers();
    let states = layers.iter().any(|of| of.kind == KvKind::State);
    if states {
        warnings.push(format!(
            "{} keeps states: the simulator lets prefixes hit at every block, and vLLM only where \
             an earlier prompt ended.",
            model.name
        ));
    }
    let packed = layers.iter().any(|of| matches!(of.kind, KvKind::LatentWindow { .. }));
    for arm in &deployment.arms {
        let Some(offload) = &arm.offload else { continue };
        if let Some(engine) = &arm.engine {
            let pool = |of: &EngineConfig| u64::from(of.blocks) * u64::from(of.block_size);
            warnings.push(format!(
                "The connector of {} switches vLLM's hybrid KV cache manager off: windows of {} \
                 keep every token, and the GPU pool holds {} tokens instead of {}.",
                arm.name,
                model.name,
                pool(engine),
                pool(&deployment.engine)
            ));
        }
        let of_vllm = offload.traits().software == Software::Vllm;
        if packed && of_vllm {
            warnings.push(format!(
                "How vLLM pads offloaded blocks of {} is not known: tiers of {} may hold fewer \
                 tokens than are planned.",
                model.name, arm.name
            ));
        }
        let version = deployment.vllm.parse::<Version>().unwrap_or(super::VLLM);
        let copies = model.kv_is_replicated() && deployment.tensor_parallel > 1;
        if copies && of_vllm && !version.at_least(27) {
            warnings.push(format!(
                "vLLM before 0.27 offloads a copy of the latents per rank: {} holds 1/{} of the \
                 tokens that are planned.",
                arm.name, deployment.tensor_parallel
            ));
        }
    }
}

/// A tier smaller than the GPU's own pool mostly holds copies of it. One warning per arm, with the
/// deployment where the tier is smallest against the pool.
fn small_tiers(deployments: &[Deployment], warnings: &mut Vec<String>) {
    // All deployments have the same arms in the same order.
    let arms = deployments.first().map_or(0, |deployment| deployment.arms.len());
    for index in 0..arms {
        let small: Vec<(&Deployment, Bytes, Bytes)> = deployments
            .iter()
            .filter_map(|deployment| {
                let tier = largest_tier(deployment, &deployment.arms[index])?;
                let pool = pool(deployment, &deployment.arms[index]);
                (tier < pool).then_some((deployment, tier, pool))
            })
            .collect();
        let share = |(_, tier, pool): &(&Deployment, Bytes, Bytes)| tier.0 as f64 / pool.0 as f64;
        let worst = small.iter().min_by(|a, b| share(a).total_cmp(&share(b)));
        let Some((deployment, tier, pool)) = worst else {
            continue;
        };
        let place = if deployments.len() == 1 {
            String::new()
        } else {
            format!(
                " in {} of {} deployments, most of all for {} on {}",
                small.len(),
                deployments.len(),
                deployment.model.name,
                deployment.label
            )
        };
        warnings.push(format!(
            "The largest tier of {} ({tier}) is smaller than the GPU pool ({pool}){place}: it \
             mostly holds copies of what the GPU has.",
            deployment.arms[index].name
        ));
    }
}

/// Bytes of a full GPU pool of one replica in an arm's tiers.
fn pool(deployment: &Deployment, arm: &Arm) -> Bytes {
    let engine = deployment.engine_of(arm);
    let tokens = u64::from(engine.blocks) * u64::from(engine.block_size);
    arm.offload.as_ref().map_or(Bytes::ZERO, |offload| offload.kept(tokens))
}

fn largest_tier(deployment: &Deployment, arm: &Arm) -> Option<Bytes> {
    let offload = arm.offload.as_ref()?;
    let shared =
        offload.store.iter().map(|store| Bytes(store.capacity.0 / u64::from(deployment.replicas)));
    offload.tiers.iter().map(|tier| tier.capacity).chain(shared).max()
}

fn sources(spec: &Spec, arm: &Arm, warnings: &mut Vec<String>) {
    if spec.target.endpoint().is_some() {
        return;
    }
    if arm.role == ArmRole::ControlAgain && spec.target.live().is_none() {
        warnings.push(format!(
            "In simulation {} gives the same figures as its control: there is no noise to show.",
            arm.name
        ));
    }
    if let Some((product, measured)) = arm.foreign_figures() {
        warnings.push(format!(
            "The {} figures of {} were measured on {measured}, and its store is {product}: measure that \
             with `weir probe {product} --profile FILE.yaml` and name it as `store.profile`.",
            TierKind::Remote,
            arm.name,
        ));
    }
    if let Some(profile) = arm.assumed_store() {
        warnings.push(format!(
            "The {} figures of {} for {} are assumptions ({}): measure your own with `weir probe {} \
             --profile FILE.yaml` and name it as `store.profile`.",
            TierKind::Remote,
            arm.name,
            profile.name,
            profile.source,
            profile.name
        ));
    }
}

/// Profiles of disks, and of stores on disks, that were measured from memory.
pub(super) fn warm_profiles<'a>(
    paths: impl Iterator<Item = &'a String>,
) -> Result<Vec<String>, SpecError> {
    let mut warnings = Vec::new();
    for path in paths {
        let profile = LinkProfileFile::read(Path::new(path))?;
        // Not for stores that keep everything in memory.
        let store = Product::named(&profile.product);
        let is_on_disk = profile.kind == ProfileKind::Disk
            || store.is_some_and(|product| !product.traits().keeps_in_memory);
        if let Some(percent) = profile.device_percent.filter(|_| is_on_disk)
            && percent < 100.0 * COLD_SHARE
        {
            let remedy = if profile.in_memory {
                "Measure a folder on a disk."
            } else {
                "Measure it with `weir probe --cold`, or with a working set larger than the memory."
            };
            warnings.push(format!(
                "{path} has figures of memory: {percent:.0} % of what was loaded for it came from \
                 the device. {remedy}"
            ));
        }
    }
    Ok(warnings)
}

fn models_stores(target: &Target) -> bool {
    match target {
        Target::Simulated => true,
        Target::Live(LiveTarget::Emulated(emulated)) => {
            matches!(emulated.bytes, Movement::Modelled)
        }
        Target::Live(LiveTarget::Kubernetes(target)) => {
            target.emulated.as_ref().is_some_and(|of| of.bytes == Movement::Modelled)
        }
        Target::Live(LiveTarget::Local(_) | LiveTarget::Endpoint(_)) => false,
    }
}
