use std::path::Path;

use weir_engine::EngineConfig;
use weir_model::{ModelShape, TierKind};

use super::engine::EngineInput;
use super::{arm, check_name, check_unique, engine, level, slug};
use crate::catalogue::hugging_face::{self, ModelRead};
use crate::catalogue::{accelerators, models};
use crate::document::ModelOverride;
use crate::document::engine::EngineSection;
use crate::document::hardware::HardwareSection;
use crate::document::model_file::ModelFile;
use crate::document::written::NameOr;
use crate::error::SpecError;
use crate::experiment::Experiment;
use crate::plan::{Arm, Deployment, Hardware, Origin, PoolSize};
use crate::set;
use weir_model::quantity::Size;

/// vLLM's default.
const GPU_MEMORY_UTILIZATION: f64 = 0.9;

#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) tensor_parallel: u32,
    pub(super) gpu_memory_utilization: f64,
}

/// In the file's order: models, hardware, sweeps. Also the names of models whose passes are timed
/// with an assumed width of weights.
pub(super) fn all(experiment: &Experiment) -> Result<(Vec<Deployment>, Vec<String>), SpecError> {
    let spec = &experiment.spec;
    let read = models(experiment)?;
    let models: Vec<&ModelShape> = read.iter().map(|model| &model.shape).collect();
    let hardware = hardware(experiment)?;
    // A flag that narrows the list leaves overrides of known models behind.
    let narrowed = matches!(experiment.origins.get("models"), Some(Origin::Set(_)));
    for name in spec.overrides.keys() {
        let idle = narrowed && models::find(name).is_some();
        if !idle && !models.iter().any(|model| model.name == *name) {
            let known = models.iter().map(|model| model.name.as_str());
            return Err(SpecError::unknown("overrides", "model", name, "models", known));
        }
    }
    let mut deployments = Vec::new();
    for model in &read {
        let change = spec.overrides.get(&model.shape.name).cloned().unwrap_or_default();
        let section = set::over_maybe("engine", &spec.engine, change.engine.as_ref());
        let section = experiment.limits.over(&section, model.shape.context);
        for hardware in &hardware {
            for point in points(&section, hardware)? {
                let label = label(&section, hardware, point);
                deployments
                    .push(one(experiment, model, hardware, &change, &section, point, label)?);
            }
        }
    }
    let paths: Vec<String> =
        deployments.iter().map(|d| format!("{}/{}", slug(&d.model.name), d.label)).collect();
    check_unique("engine", paths.iter().map(String::as_str), "remove the double value")?;
    let assumed = read.into_iter().filter(ModelRead::assumes_plain_weights);
    Ok((deployments, assumed.map(|model| model.shape.name).collect()))
}

fn one(
    experiment: &Experiment,
    read: &ModelRead,
    hardware: &Hardware,
    change: &ModelOverride,
    section: &EngineSection,
    point: Point,
    label: String,
) -> Result<Deployment, SpecError> {
    let spec = &experiment.spec;
    let mut model = read.shape.clone();
    if let Some(local) = spec.target.local()
        && matches!(local.dtype.as_deref(), Some("float32" | "float"))
    {
        // vLLM's KV cache has the weights' type unless configured otherwise.
        model.kv_bytes_per_element = 4;
    }
    let context = spec.workload.typical_context();
    let input = EngineInput { section, model: &model, hardware, point, context };
    let engine = engine::resolve(input).map_err(|error| because(error, read))?;
    let arms = arm::all(experiment, change, &engine, input)?;
    let load = set::over_maybe("load", &spec.load, change.load.as_ref());
    let longest = engine.config.max_model_len;
    let workload = spec.workload.resolve_capacity(|tier| held(&engine.config, &arms, tier))?;
    let levels = level::all(&workload, &load, &experiment.base, longest)?;
    Ok(Deployment {
        model: engine.model,
        hardware: hardware.clone(),
        label,
        tensor_parallel: point.tensor_parallel,
        replicas: spec.replicas,
        vllm: engine.version.to_string(),
        engine: engine.config,
        pool: match section.kv_tokens {
            Some(_) => PoolSize::Given,
            None => PoolSize::Share(point.gpu_memory_utilization),
        },
        vllm_block_size: engine.block_size,
        timing: engine.timing,
        arms,
        levels,
    })
}

/// Of one replica, in the arm with the largest tier.
fn held(engine: &EngineConfig, arms: &[Arm], tier: TierKind) -> Option<u64> {
    if tier == TierKind::Gpu {
        return Some(u64::from(engine.blocks) * u64::from(engine.block_size));
    }
    let offloads = arms.iter().filter_map(|arm| arm.offload.as_ref());
    let sizes = offloads.flat_map(|offload| {
        let local = offload.tiers.iter().filter(move |local| local.kind == tier);
        let store = offload.store.iter().filter(move |_| tier == TierKind::Remote);
        let sizes = local.map(|local| local.capacity).chain(store.map(|store| store.capacity));
        sizes.map(|bytes| offload.tokens(bytes))
    });
    sizes.max()
}

/// Without sweeps, both lists have one element.
fn points(section: &EngineSection, hardware: &Hardware) -> Result<Vec<Point>, SpecError> {
    let ranks = section.tensor_parallel.as_ref().map_or(vec![hardware.count], |l| l.0.clone());
    let shares = section
        .gpu_memory_utilization
        .as_ref()
        .map_or(vec![GPU_MEMORY_UTILIZATION], |list| list.0.clone());
    for (key, empty) in [
        ("engine.tensor_parallel", ranks.is_empty()),
        ("engine.gpu_memory_utilization", shares.is_empty()),
    ] {
        if empty {
            return Err(SpecError::value(key, "the list is empty", "write a number or remove it"));
        }
    }
    Ok(ranks
        .iter()
        .flat_map(|&tensor_parallel| {
            shares.iter().map(move |&gpu_memory_utilization| Point {
                tensor_parallel,
                gpu_memory_utilization,
            })
        })
        .collect())
}

fn label(section: &EngineSection, hardware: &Hardware, point: Point) -> String {
    let mut label = hardware.name.clone();
    if section.tensor_parallel.as_ref().is_some_and(|list| list.0.len() > 1) {
        label = format!("{label}-tp{}", point.tensor_parallel);
    }
    if section.gpu_memory_utilization.as_ref().is_some_and(|list| list.0.len() > 1) {
        label = format!("{label}-gmu{}", point.gpu_memory_utilization);
    }
    label
}

/// The file explains better than its shape why the weights are unknown.
fn because(error: SpecError, read: &ModelRead) -> SpecError {
    match (error, &read.unknown_weights) {
        (SpecError::UnknownWeights { model, .. }, Some(why)) => {
            SpecError::UnknownWeights { model, why: why.clone() }
        }
        (error, _) => error,
    }
}

fn models(experiment: &Experiment) -> Result<Vec<ModelRead>, SpecError> {
    let mut shapes = Vec::new();
    for entry in &experiment.spec.models {
        shapes.push(match entry {
            NameOr::Name(name) => {
                let shape = models::find(name).ok_or_else(|| {
                    if let Some(file) = config_of(name, &experiment.base) {
                        let problem = format!("`{name}` is a path, not a model of the catalogue");
                        return SpecError::value(
                            "models",
                            problem,
                            format!("write `[{{config: {file}}}]`"),
                        );
                    }
                    let all = models::all();
                    let known = all.iter().map(|model| model.name.as_str());
                    SpecError::unknown("models", "model", name, "models", known)
                })?;
                ModelRead::of(shape)
            }
            NameOr::Map(file) => model_file(file, &experiment.base)?,
        });
    }
    let slugs: Vec<String> = shapes.iter().map(|read| slug(&read.shape.name)).collect();
    check_unique("models", slugs.iter().map(String::as_str), "give one of them another `name`")?;
    Ok(shapes)
}

fn config_of(name: &str, base: &Path) -> Option<String> {
    if set::is_config(name) {
        return Some(name.to_owned());
    }
    let inside = Path::new(name).join("config.json");
    base.join(&inside).is_file().then(|| inside.display().to_string())
}

fn model_file(file: &ModelFile, base: &Path) -> Result<ModelRead, SpecError> {
    let mut read = hugging_face::read(&base.join(&file.config))?;
    if let Some(name) = &file.name {
        name.clone_into(&mut read.shape.name);
    }
    match file.weight_bytes {
        None => {}
        Some(Size::Bytes(bytes)) => read.give_weights(bytes),
        Some(size) => {
            return Err(SpecError::value(
                "models.weight_bytes",
                format!("`{size}` does not measure weights"),
                "write bytes, for example `16.4GB`",
            ));
        }
    }
    let shape = &mut read.shape;
    shape.context = file.context.unwrap_or(shape.context);
    if shape.context == 0 {
        return Err(SpecError::value("models.context", "0 tokens", "write the longest sequence"));
    }
    Ok(read)
}

fn hardware(experiment: &Experiment) -> Result<Vec<Hardware>, SpecError> {
    let mut list = Vec::new();
    for entry in &experiment.spec.hardware.0 {
        list.push(match entry {
            NameOr::Name(name) => accelerators::hardware(name, "hardware")?,
            NameOr::Map(section) => inline_hardware(section)?,
        });
    }
    let names = list.iter().map(|hardware| hardware.name.as_str());
    check_unique("hardware", names, "give one of them another `name`")?;
    Ok(list)
}

fn inline_hardware(section: &HardwareSection) -> Result<Hardware, SpecError> {
    accelerators::check_count(section.count, "hardware.count")?;
    let mut accelerator = accelerators::find(&section.accelerator, "hardware.accelerator")?;
    let name = section
        .name
        .clone()
        .unwrap_or_else(|| format!("{}x-{}", section.count, section.accelerator));
    check_name("hardware.name", &name)?;
    let positive = |key: &str, value: f64| {
        if value > 0.0 && value < 1e6 {
            return Ok(value);
        }
        let key = format!("hardware.{key}");
        Err(SpecError::value(key, format!("unsupported value {value}"), "write a number above 0"))
    };
    if let Some(gib) = section.memory_gib {
        accelerator.memory_mib = (positive("memory_gib", gib)? * 1024.0) as u64;
    }
    if let Some(rate) = section.memory_gb_per_s {
        accelerator.memory_gb_per_s = positive("memory_gb_per_s", rate)?;
    }
    if let Some(rate) = section.host_link_gb_per_s {
        accelerator.host_link_gb_per_s = positive("host_link_gb_per_s", rate)?;
    }
    Ok(Hardware { name, count: section.count, accelerator })
}
