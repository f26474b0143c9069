//! llm-d-router 0.9 and later.
//!
//! A precise index needs a token producer, the notification of endpoints bound to the producer of
//! matches, and the producer's name at the scorer: without any of them it starts and routes by
//! something else.

use serde_json::{Value, json};
use weir_router::PolicyConfig;

use super::{ConfigError, PickerConfig, Scorer, backends, with_profile};
use crate::replicas::PickedReplicas;

const API: &str = "llm-d.ai/v1alpha1";
const APPROXIMATE: &str = "approx-prefix-cache-producer";
const PRECISE: &str = "precise-prefix-cache-producer";

pub(super) fn document(config: &PickerConfig) -> Result<Value, ConfigError> {
    let picker = config.picker()?;
    let mut plugins =
        vec![json!({"type": "metrics-data-source"}), json!({"type": "core-metrics-extractor"})];
    let mut sources = vec![json!({
        "pluginRef": "metrics-data-source",
        "extractors": [{"pluginRef": "core-metrics-extractor"}],
    })];
    let mut scorers = config.load_scorers();
    match &config.policy {
        PolicyConfig::ApproximatePrefix {
            weights,
            block_tokens,
            lru_blocks_per_replica,
            max_prefix_tokens,
            ..
        } => {
            plugins.push(json!({
                "type": APPROXIMATE,
                "parameters": {
                    "autoTune": false,
                    "blockSizeTokens": block_tokens,
                    "maxPrefixTokensToMatch": max_prefix_tokens,
                    "lruCapacityPerServer": lru_blocks_per_replica,
                },
            }));
            scorers.insert(0, prefix(weights.prefix, APPROXIMATE));
        }
        PolicyConfig::PrecisePrefix { weights, .. } => {
            plugins.extend(precise(config));
            sources.push(json!({
                "pluginRef": "endpoint-notification-source",
                "extractors": [{"pluginRef": PRECISE}],
            }));
            scorers.insert(0, prefix(weights.prefix, PRECISE));
        }
        PolicyConfig::Random | PolicyConfig::RoundRobin | PolicyConfig::LeastLoaded => {}
    }
    let mut layer = json!({"sources": sources});
    if config.pods.is_none() {
        let path = config.endpoints_file.display().to_string();
        plugins.push(json!({
            "name": "engines",
            "type": "file-discovery",
            "parameters": {"path": path, "watchFile": true},
        }));
        layer["discovery"] = json!({"pluginRef": "engines"});
    }
    let mut document = with_profile(API, plugins, &scorers, picker);
    document["dataLayer"] = layer;
    Ok(document)
}

fn precise(config: &PickerConfig) -> Vec<Value> {
    let PolicyConfig::PrecisePrefix { block_tokens, index, .. } = &config.policy else {
        return Vec::new();
    };
    let first = config.replicas.names().into_iter().next().unwrap_or_default();
    let pods = config.pods.as_ref().map(|pods| pods.engines.clone());
    let engine = pods.unwrap_or_else(|| format!("http://{first}"));
    vec![
        json!({"type": "endpoint-notification-source"}),
        json!({
            "type": "token-producer",
            "parameters": {"modelName": config.model, "vllm": {"url": engine}},
        }),
        json!({
            "type": PRECISE,
            "parameters": {
                "tokenProcessorConfig": {"blockSizeTokens": block_tokens},
                "indexerConfig": {
                    // It refuses `valkeyConfig`; the key of Redis serves both.
                    "kvBlockIndexConfig": config.index(|_| "redisConfig"),
                    "kvCacheBackendConfigs": backends(index),
                },
                "kvEventsConfig": config.kv_events(),
            },
        }),
    ]
}

fn prefix(weight: f64, producer: &str) -> Scorer {
    let parameters = Some(json!({"prefixMatchInfoProducerName": producer}));
    Scorer { kind: "prefix-cache-scorer", weight, parameters }
}

pub(super) fn endpoints(replicas: &PickedReplicas) -> Value {
    let port = replicas.port.to_string();
    let list: Vec<Value> = replicas
        .addresses
        .iter()
        .enumerate()
        .map(|(number, address)| {
            let (name, address) = (format!("replica-{number}"), address.to_string());
            json!({"name": name, "address": address, "port": port})
        })
        .collect();
    json!({"endpoints": list})
}
