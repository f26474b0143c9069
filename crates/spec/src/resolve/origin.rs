use std::collections::BTreeMap;

use crate::document::written::NameOr;
use crate::experiment::Experiment;
use crate::plan::{Deployment, Origin};

/// Whether the file names them or not.
const DEFAULTED: [&str; 39] = [
    "target",
    "replicas",
    "routing",
    "repeats",
    "seed",
    "verdict.effective_share",
    "load.duration",
    "load.warmup",
    "load.ramp",
    "load.max_requests",
    "client.api",
    "client.stream",
    "client.answers",
    "client.drain",
    "client.max_failures",
    "client.workers",
    "slo.ttft",
    "slo.tpot",
    "prices.gpu_hour",
    "prices.host_gib_month",
    "prices.disk_gib_month",
    "prices.store_gib_month",
    "prices.kvrocks_gib_month",
    "engine.vllm",
    "engine.tensor_parallel",
    "engine.gpu_memory_utilization",
    "engine.max_num_seqs",
    "engine.max_num_batched_tokens",
    "engine.block_size",
    "engine.max_model_len",
    "engine.prefix_caching",
    "engine.watermark",
    "engine.async_scheduling",
    "engine.cascade_attention",
    "engine.kv_cache_dtype",
    "engine.timing",
    "engine.cpu_per_pass",
    "engine.cpu_per_sequence",
    "engine.front_end",
];

pub(super) fn all(experiment: &Experiment, deployments: &[Deployment]) -> BTreeMap<String, Origin> {
    let mut origins = experiment.origins.clone();
    for key in experiment.limits.keys() {
        origins.insert(key.to_owned(), Origin::Endpoint);
    }
    for key in DEFAULTED {
        let below = format!("{key}.");
        // `origins` also holds keys below one that is a map in the file (`routing.policy`).
        let written = origins.contains_key(key) || origins.keys().any(|k| k.starts_with(&below));
        if !written {
            origins.insert(key.to_owned(), Origin::Default);
        }
    }
    for entry in &experiment.spec.models {
        if let NameOr::Name(name) = entry {
            origins.insert(format!("models.{name}"), Origin::Catalogue(name.clone()));
        }
    }
    for deployment in deployments {
        let accelerator = &deployment.hardware.accelerator.name;
        let key = format!("hardware.{}", deployment.hardware.name);
        origins.insert(key, Origin::Catalogue(accelerator.clone()));
        for arm in &deployment.arms {
            let key = format!("arms.{}", arm.name);
            origins.insert(key, Origin::Catalogue(arm.preset.clone()));
        }
    }
    origins
}
