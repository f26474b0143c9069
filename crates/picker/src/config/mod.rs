//! A picker's configuration and command line, by release.

mod router;
mod scheduler;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde_json::{Value, json};
use weir_model::{Nanos, Product};
use weir_router::PolicyConfig;
use weir_router::config::{IndexConfig, ScorerWeights};

use crate::release::PickerRelease;
use crate::replicas::PickedReplicas;

/// Where a precise index is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexStore {
    Memory,
    /// `redis://HOST:PORT`, whatever the product.
    Server {
        product: Product,
        address: String,
    },
}

/// What a picker is to do.
#[derive(Debug, Clone)]
pub struct PickerConfig {
    pub policy: PolicyConfig,
    pub model: String,
    pub replicas: PickedReplicas,
    pub index: IndexStore,
    /// Unix socket of the tokenizer service ([`crate::Services`]), for a precise index.
    pub tokenizer_socket: PathBuf,
    /// File with the replicas, for releases that read one.
    pub endpoints_file: PathBuf,
    pub ports: PickerPorts,
    /// None: the replicas have the addresses above.
    pub pods: Option<PodPool>,
}

/// Replicas that are pods of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodPool {
    /// `InferencePool`, for releases that read one.
    pub pool: String,
    pub namespace: String,
    /// Labels of the pods, for releases that find them so.
    pub selector: String,
    /// URL of a Service over the engines.
    pub engines: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PickerPorts {
    pub grpc: u16,
    pub health: u16,
    pub metrics: u16,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "{release} has no {what}; use another policy, or a picker that has it (`weir setup router`)"
    )]
    Unsupported { release: &'static str, what: &'static str },
    #[error(
        "a picker of llm-d has no policy `{0}`; use `random`, `approximate-prefix` or \
         `precise-prefix`, or Weir's own router (`router: {{kind: weir}}`)"
    )]
    Policy(&'static str),
}

/// A scorer with its plugin's parameters.
struct Scorer {
    kind: &'static str,
    weight: f64,
    parameters: Option<Value>,
}

impl PickerConfig {
    /// As JSON, for `--config-file`.
    pub fn document(&self, release: PickerRelease) -> Result<Value, ConfigError> {
        match release {
            PickerRelease::Scheduler | PickerRelease::Gateway => scheduler::document(self, release),
            PickerRelease::Router => {
                self.no_hit_weight(release)?;
                router::document(self)
            }
        }
    }

    /// A configuration of somebody else's, with what only the running cell knows: `${MODEL}`,
    /// `${EVENTS_PORT}`, `${TOKENIZER_SOCKET}`, `${INDEX}` (a URL), `${ENDPOINTS_FILE}`.
    pub fn filled_in(&self, text: &str) -> String {
        let index = match &self.index {
            IndexStore::Memory => "",
            IndexStore::Server { address, .. } => address,
        };
        [
            ("${MODEL}", self.model.clone()),
            ("${EVENTS_PORT}", self.replicas.events_port.to_string()),
            ("${TOKENIZER_SOCKET}", self.tokenizer_socket.display().to_string()),
            ("${INDEX}", index.to_owned()),
            ("${ENDPOINTS_FILE}", self.endpoints_file.display().to_string()),
        ]
        .into_iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(name, &value))
    }

    /// Of [`Self::endpoints_file`].
    pub fn endpoints(&self) -> Value {
        router::endpoints(&self.replicas)
    }

    /// `config` is the path of the document.
    pub fn arguments(&self, release: PickerRelease, config: &str) -> Vec<String> {
        let mut args: Vec<String> = [
            ("--config-file", config.to_owned()),
            ("--grpc-port", self.ports.grpc.to_string()),
            ("--grpc-health-port", self.ports.health.to_string()),
            ("--metrics-port", self.ports.metrics.to_string()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect();
        args.extend(self.pool_arguments(release));
        args.extend(
            ["--secure-serving=false", "--metrics-endpoint-auth=false", "--tracing=false"]
                .map(str::to_owned),
        );
        if let Some(interval) = self.policy.scrape_interval() {
            // It cannot read them at each decision, and stops at 0.
            let interval = interval.max(Nanos::from_millis(1));
            let micros = interval.0.div_ceil(1000);
            args.extend(["--refresh-metrics-interval".to_owned(), format!("{micros}us")]);
        }
        // The scores of each decision stand in level 4: 20 KB per request, which would take the
        // picker's time.
        args.extend(["-v", "1"].map(str::to_owned));
        args
    }

    fn pool_arguments(&self, release: PickerRelease) -> Vec<String> {
        let port = self.replicas.port.to_string();
        let own = |of: &[(&str, &str)]| {
            of.iter().flat_map(|(flag, value)| [*flag, *value]).map(str::to_owned).collect()
        };
        match (&self.pods, release.reads_endpoints_file()) {
            (None, true) => own(&[("--pool-name", POOL)]),
            (None, false) => own(&[("--pool-name", POOL), ("--pool-namespace", NAMESPACE)]),
            (Some(pods), true) => {
                own(&[("--endpoint-selector", &pods.selector), ("--endpoint-target-ports", &port)])
            }
            (Some(pods), false) => {
                own(&[("--pool-name", &pods.pool), ("--pool-namespace", &pods.namespace)])
            }
        }
    }

    /// A file for `KUBECONFIG` that leads to the stand-in at `port`.
    pub fn kubeconfig(port: u16) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "weir", "cluster": {"server": format!("http://{}:{port}", Ipv4Addr::LOCALHOST)}}],
            "users": [{"name": "weir", "user": {}}],
            "contexts": [{"name": "weir", "context": {"cluster": "weir", "user": "weir"}}],
            "current-context": "weir",
        })
    }

    fn weights(&self) -> Option<ScorerWeights> {
        match &self.policy {
            PolicyConfig::ApproximatePrefix { weights, .. }
            | PolicyConfig::PrecisePrefix { weights, .. } => Some(*weights),
            PolicyConfig::Random | PolicyConfig::RoundRobin | PolicyConfig::LeastLoaded => None,
        }
    }

    /// Scorers beside that of the prefix.
    fn load_scorers(&self) -> Vec<Scorer> {
        let Some(weights) = self.weights() else { return Vec::new() };
        [("queue-scorer", weights.queue), ("kv-cache-utilization-scorer", weights.kv_usage)]
            .into_iter()
            .filter(|(_, weight)| *weight > 0.0)
            .map(|(kind, weight)| Scorer { kind, weight, parameters: None })
            .collect()
    }

    /// Of the scorer that orders cold prompts. The gateway's picker has none, and how that of
    /// llm-d-router finds its matches is not known.
    fn no_hit_weight(&self, release: PickerRelease) -> Result<f64, ConfigError> {
        let weight = self.weights().map_or(0.0, |weights| weights.no_hit_lru);
        if weight > 0.0 && release != PickerRelease::Scheduler {
            let what = "`weights.no_hit_lru`";
            return Err(ConfigError::Unsupported { release: release.name(), what });
        }
        Ok(weight)
    }

    fn picker(&self) -> Result<&'static str, ConfigError> {
        match &self.policy {
            PolicyConfig::Random => Ok("random-picker"),
            PolicyConfig::ApproximatePrefix { .. } | PolicyConfig::PrecisePrefix { .. } => {
                Ok("max-score-picker")
            }
            PolicyConfig::RoundRobin => Err(ConfigError::Policy("round-robin")),
            PolicyConfig::LeastLoaded => Err(ConfigError::Policy("least-loaded")),
        }
    }

    fn kv_events(&self) -> Value {
        json!({
            "topicFilter": "kv@",
            "concurrency": 2,
            "discoverPods": true,
            "podDiscoveryConfig": {"socketPort": self.replicas.events_port},
        })
    }

    /// `server_key` is the key of the product in this release.
    fn index(&self, server_key: impl Fn(Product) -> &'static str) -> Value {
        let mut index = json!({"enableMetrics": true});
        match &self.index {
            IndexStore::Memory => {
                index["inMemoryConfig"] = json!({"size": 100_000_000, "podCacheSize": 64});
            }
            IndexStore::Server { product, address } => {
                index[server_key(*product)] = json!({"address": address});
            }
        }
        index
    }
}

/// Weights of blocks by the medium of their events. A medium that is not named weighs 1.
fn backends(index: &IndexConfig) -> Value {
    json!([
        {"name": "gpu", "weight": index.gpu_weight},
        {"name": "cpu", "weight": index.tier_weight},
        {"name": "storage", "weight": index.tier_weight},
    ])
}

pub(crate) const POOL: &str = "weir";
pub(crate) const NAMESPACE: &str = "default";

/// Plugins and one profile of them.
fn with_profile(api: &str, mut plugins: Vec<Value>, scorers: &[Scorer], picker: &str) -> Value {
    let mut profile = Vec::new();
    for scorer in scorers {
        let mut plugin = json!({"type": scorer.kind});
        if let Some(parameters) = &scorer.parameters {
            plugin["parameters"] = parameters.clone();
        }
        plugins.push(plugin);
        profile.push(json!({"pluginRef": scorer.kind, "weight": scorer.weight}));
    }
    plugins.push(json!({"type": picker}));
    plugins.push(json!({"type": "single-profile-handler"}));
    profile.push(json!({"pluginRef": picker}));
    json!({
        "apiVersion": api,
        "kind": "EndpointPickerConfig",
        "plugins": plugins,
        "schedulingProfiles": [{"name": "default", "plugins": profile}],
    })
}

#[cfg(test)]
mod tests;
