//! Arms: presets with their parameters, for one deployment.

use super::engine::{Engine, EngineInput};
use super::{check_name, check_unique, local, offload, routing};
use crate::catalogue::presets::{self, Preset, RoutingKind};
use crate::document::arm::ArmSection;
use crate::document::written::NameOr;
use crate::document::{ModelOverride, Spec};
use crate::error::SpecError;
use crate::experiment::Experiment;
use crate::kv_pool::offloaded;
use crate::plan::{Arm, ArmRole, StoreAccess};
use crate::set;

const WITHOUT_CACHE: &str = "no cache at all: every prompt is computed anew";

/// In the file's order.
pub(super) fn all(
    experiment: &Experiment,
    change: &ModelOverride,
    engine: &Engine,
    input: EngineInput<'_>,
) -> Result<Vec<Arm>, SpecError> {
    let spec = &experiment.spec;
    let mut sections = Vec::new();
    for entry in &spec.arms {
        sections.push(named(entry)?);
    }
    let names: Vec<&str> = sections.iter().map(|(name, ..)| name.as_str()).collect();
    check_unique("arms", names.iter().copied(), "give one of them another `name`")?;
    for (name, section) in &change.arms {
        if !names.contains(&name.as_str()) {
            let known = names.iter().copied();
            return Err(SpecError::unknown("overrides", "arm", name, "arms", known));
        }
        if section.preset.is_some() || section.name.is_some() {
            return Err(SpecError::value(
                format!("overrides.arms.{name}"),
                "an override cannot change `preset` or `name`",
                "write another arm under `arms`",
            ));
        }
    }
    let equal = spec.equal_resources.as_ref();
    let local = spec.target.starts_vllm();
    let (hardware, point) = (input.hardware, input.point);
    let place = offload::Place { base: &experiment.base, engine, hardware, point, equal, local };
    sections
        .into_iter()
        .map(|(name, preset, section)| {
            let section = match change.arms.get(&name) {
                Some(change) => set::over("arm", &section, change),
                None => section,
            };
            one(spec, &name, preset, &section, &place, input)
        })
        .collect()
}

fn named(entry: &NameOr<ArmSection>) -> Result<(String, &'static Preset, ArmSection), SpecError> {
    let (name, preset, section) = match entry {
        NameOr::Name(name) => (name, name, ArmSection::default()),
        NameOr::Map(section) => {
            let preset = section.preset.as_ref().ok_or_else(|| {
                SpecError::value(
                    "arms",
                    "an arm has no `preset`",
                    "write for example `{preset: native-offload, bytes: 64GiB}`",
                )
            })?;
            (section.name.as_ref().unwrap_or(preset), preset, section.clone())
        }
    };
    check_name("arms", name)?;
    let preset = presets::find(preset).ok_or_else(|| {
        let known = presets::ALL.iter().map(|preset| preset.name);
        SpecError::unknown("arms", "arm", preset, "arms", known)
    })?;
    Ok((name.clone(), preset, section))
}

fn one(
    spec: &Spec,
    name: &str,
    preset: &Preset,
    section: &ArmSection,
    place: &offload::Place<'_>,
    input: EngineInput<'_>,
) -> Result<Arm, SpecError> {
    let own = own_engine(name, preset, section, place, input)?;
    let place = &offload::Place { engine: own.as_ref().unwrap_or(place.engine), ..*place };
    let offload = offload::resolve(name, preset, section, place)?;
    let own_routing = section.routing.is_some() || preset.routing != RoutingKind::Shared;
    let routing = routing::resolve(spec, name, preset, section, place.engine.config.block_size)?;
    let prefix_aware = routing::is_prefix_aware(&routing.policy);
    let chance = routing::is_random(&routing.policy);
    let claims_routing = own_routing && prefix_aware;
    // The role of an arm that combines presets follows from its parts.
    let role = match preset.role {
        _ if claims_routing || preset.offload.is_some() => ArmRole::Treatment,
        _ if own_routing && chance => ArmRole::RoutingControl,
        ArmRole::Treatment | ArmRole::RoutingControl => ArmRole::Control,
        role => role,
    };
    let description = match (preset.routing, &section.routing) {
        (_, Some(NameOr::Name(policy))) => format!("{}, routed by {policy}", preset.description),
        (_, Some(NameOr::Map(map))) => format!("{}, routed by {}", preset.description, map.policy),
        _ if preset.role == ArmRole::Control && !place.engine.config.prefix_caching => {
            WITHOUT_CACHE.to_owned()
        }
        _ => preset.description.to_owned(),
    };
    Ok(Arm {
        name: name.to_owned(),
        preset: preset.name.to_owned(),
        role,
        description,
        store_access: store_access(spec, name, section, place)?,
        store_measured_on: match &offload {
            Some(offload) if offload.store.is_some() => offload::measured_on(section, place)?,
            _ => None,
        },
        processes: local::processes(name, preset, section, offload.as_ref(), place.base)?,
        offload,
        engine: own.map(|engine| engine.config),
        routing,
        routing_is_claim: claims_routing,
    })
}

/// For an arm whose connector switches vLLM's hybrid KV cache manager off, if that changes the
/// model's caches.
fn own_engine(
    name: &str,
    preset: &Preset,
    section: &ArmSection,
    place: &offload::Place<'_>,
    input: EngineInput<'_>,
) -> Result<Option<Engine>, SpecError> {
    let engine = place.engine;
    let Some(of) = &preset.offload else { return Ok(None) };
    let mechanism = offload::mechanism_of(of, section, place);
    if offloaded::keeps_hybrid_manager(mechanism, engine.version) {
        return Ok(None);
    }
    let own = engine.without_hybrid_manager(input).map_err(|error| match error {
        SpecError::PoolTooSmall { holds, max_model_len, .. } => {
            SpecError::PoolTooSmall { arm: Some(name.to_owned()), holds, max_model_len }
        }
        error => error,
    })?;
    let own = own.ok_or_else(|| SpecError::NeedsHybridManager {
        arm: name.to_owned(),
        model: engine.model.name.clone(),
        vllm: engine.version.to_string(),
        remedy: if offloaded::keeps_hybrid_manager_for_some(engine.version) {
            "write `lmcache_mode: server`, or remove the key"
        } else {
            "set engine.vllm to 0.22 or later"
        },
    })?;
    Ok((own.config != engine.config).then_some(own))
}

fn store_access(
    spec: &Spec,
    name: &str,
    section: &ArmSection,
    place: &offload::Place<'_>,
) -> Result<Option<StoreAccess>, SpecError> {
    let Some(store) = &section.store else { return Ok(None) };
    let empty = store.empty == Some(true);
    let Some(address) = store.address.clone() else {
        let (key, what) = match (&store.password_file, empty) {
            (Some(_), _) => ("password_file", "a password"),
            (None, true) => ("empty", "a store to be emptied"),
            (None, false) => return Ok(None),
        };
        return Err(SpecError::value(
            format!("arms.{name}.store.{key}"),
            format!("{what} without an address"),
            "write store.address too, or remove it",
        ));
    };
    if empty && spec.target.endpoint().is_some() {
        return Err(SpecError::value(
            format!("arms.{name}.store.empty"),
            "the store of a deployment is only looked at",
            "remove it, and empty the store yourself",
        ));
    }
    // The plan is recorded and shared, so it must not contain secrets.
    let authority = address.split_once("://").map_or(address.as_str(), |(_, rest)| rest);
    if authority.split_once('@').is_some_and(|(user, _)| user.contains(':')) {
        return Err(SpecError::value(
            format!("arms.{name}.store.address"),
            "it holds a password, which would be recorded",
            "write the password into a file, and `password_file: that file` beside the address",
        ));
    }
    let file = |path: &String| place.base.join(path).display().to_string();
    let password_file = store.password_file.as_ref().map(file);
    Ok(Some(StoreAccess { address, password_file, empty }))
}
