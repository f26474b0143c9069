//! llm-d-inference-scheduler 0.7 and the gateway extension's picker.
//!
//! Their plugins ignore unknown parameters: a misspelt key leaves a default, without a word.

use serde_json::{Value, json};
use weir_router::{Normalization, PolicyConfig};

use super::{ConfigError, PickerConfig, Scorer, backends, with_profile};
use crate::release::PickerRelease;

const API: &str = "inference.networking.x-k8s.io/v1alpha1";

pub(super) fn document(
    config: &PickerConfig,
    release: PickerRelease,
) -> Result<Value, ConfigError> {
    let picker = config.picker()?;
    let mut plugins = Vec::new();
    let mut scorers = config.load_scorers();
    match &config.policy {
        PolicyConfig::ApproximatePrefix {
            weights,
            block_tokens,
            lru_blocks_per_replica,
            max_prefix_tokens,
            ..
        } => {
            let parameters = json!({
                // Else the engine's own block size and cache size replace the next ones.
                "autoTune": false,
                "blockSizeTokens": block_tokens,
                "maxPrefixBlocksToMatch": max_prefix_tokens.div_ceil(*block_tokens),
                "lruCapacityPerServer": lru_blocks_per_replica,
            });
            let of_scorer = (release == PickerRelease::Scheduler).then(|| parameters.clone());
            if of_scorer.is_none() {
                plugins.push(
                    json!({"type": "approx-prefix-cache-producer", "parameters": parameters}),
                );
            }
            let weight = weights.prefix;
            scorers
                .insert(0, Scorer { kind: "prefix-cache-scorer", weight, parameters: of_scorer });
        }
        PolicyConfig::PrecisePrefix { weights, normalization, index, .. } => {
            let refused = |what| Err(ConfigError::Unsupported { release: release.name(), what });
            if release == PickerRelease::Gateway {
                return refused("precise prefix index");
            }
            if *normalization == Normalization::Share {
                return refused("`normalization: share`");
            }
            if index.counts_stores {
                return refused("`counts_stores: true`");
            }
            let (kind, weight) = ("precise-prefix-cache-scorer", weights.prefix);
            scorers.insert(0, Scorer { kind, weight, parameters: Some(precise(config)) });
        }
        PolicyConfig::Random | PolicyConfig::RoundRobin | PolicyConfig::LeastLoaded => {}
    }
    let weight = config.no_hit_weight(release)?;
    if let Some(prefix) = scorers.first().map(|scorer| scorer.kind).filter(|_| weight > 0.0) {
        // Otherwise it looks for the state of `prefix-cache-scorer`, and takes all as cold.
        let parameters = json!({"prefixPluginType": prefix, "prefixPluginName": prefix});
        let kind = "no-hit-lru-scorer";
        scorers.push(Scorer { kind, weight, parameters: Some(parameters) });
    }
    Ok(with_profile(API, plugins, &scorers, picker))
}

fn precise(config: &PickerConfig) -> Value {
    let PolicyConfig::PrecisePrefix { block_tokens, index, .. } = &config.policy else {
        return Value::Null;
    };
    json!({
        "tokenProcessorConfig": {"blockSize": block_tokens},
        "indexerConfig": {
            "tokenizersPoolConfig": {
                "modelName": config.model,
                "workersCount": 4,
                "uds": {"socketFile": config.tokenizer_socket.display().to_string()},
            },
            "kvBlockIndexConfig": config.index(|product| product.traits().picker_key),
            "kvCacheBackendConfigs": backends(index),
        },
        "kvEventsConfig": config.kv_events(),
    })
}
