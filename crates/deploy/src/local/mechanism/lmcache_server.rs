//! LMCache's server beside vLLM, and its connector in the engine.

use serde_json::{Value, json};
use weir_engine::OffloadConfig;
use weir_http::{Fetch, Url, fetch};
use weir_model::quantity::Version;
use weir_model::{Mechanism, TierKind};
use weir_spec::plan::{Deployment, lmcache_ranks};
use weir_store::KeyLayout;

use super::super::command::{Places, gib};
use super::super::stack::Stack;
use super::{Connector, ServerCommand};
use crate::error::DeployError;
use crate::remote::{StorePlace, server_layout};

/// First minor version of `LMCache` (0.x) with the server as default.
const FIRST_SERVER: u32 = 4;

pub(super) const fn is_in(version: Version) -> bool {
    version.major > 0 || version.minor >= FIRST_SERVER
}

/// For all ranks of all replicas.
#[derive(Debug)]
pub(super) struct LmcacheServer<'a> {
    offload: &'a OffloadConfig,
    replicas: u32,
    /// Of a replica, those that store.
    ranks: u32,
}

impl<'a> LmcacheServer<'a> {
    pub(super) fn new(offload: &'a OffloadConfig, deployment: &Deployment) -> Self {
        let ranks = lmcache_ranks(&deployment.model, deployment.tensor_parallel);
        Self { offload, replicas: deployment.replicas, ranks }
    }

    fn second_level(&self, places: &Places) -> Option<Value> {
        if let Some(StorePlace { host, port, user, password }) = &places.store {
            let mut adapter = json!({"type": "resp", "host": host, "port": port, "num_workers": 2});
            if let Some(user) = user {
                adapter["username"] = json!(user);
            }
            if let Some(password) = password {
                adapter["password"] = json!(password.reveal());
            }
            return Some(adapter);
        }
        let has_disk = self.offload.tiers.iter().any(|tier| tier.kind == TierKind::Disk);
        // `fs` has no size limit: it ignores `max_capacity_gb`.
        has_disk.then(|| json!({"type": "fs", "base_path": places.disk.display().to_string()}))
    }
}

impl Connector for LmcacheServer<'_> {
    fn transfer_config(&self, places: &Places) -> Value {
        json!({
            "kv_connector": Mechanism::LmcacheServer.traits().connector,
            "kv_role": "kv_both",
            "kv_connector_extra_config": {
                "lmcache.mp.host": "tcp://127.0.0.1",
                "lmcache.mp.port": places.lmcache.0,
            },
        })
    }

    fn flags(&self) -> &'static [&'static str] {
        &["--disable-hybrid-kv-cache-manager"]
    }

    fn server(&self, stack: &Stack, places: &Places) -> Option<ServerCommand> {
        let host = self.offload.tiers.iter().find(|tier| tier.kind == TierKind::Host);
        // The flag says GB and means GiB.
        let size = host.map_or(0.0, |tier| gib(tier.capacity) * f64::from(self.replicas));
        let mut args: Vec<String> = ["server", "--host", "127.0.0.1"].map(str::to_owned).to_vec();
        let mut add = |name: &str, value: String| args.extend([name.to_owned(), value]);
        add("--port", places.lmcache.0.to_string());
        add("--http-host", "127.0.0.1".to_owned());
        add("--http-port", places.lmcache.1.to_string());
        add("--l1-size-gb", size.to_string());
        // Whole numbers only; the rest is allocated on use.
        add("--l1-init-size-gb", "1".to_owned());
        add("--eviction-policy", "LRU".to_owned());
        add("--chunk-size", self.offload.chunk_tokens.to_string());
        add("--supported-transfer-mode", "auto".to_owned());
        add("--shm-name", format!("{}lmcache", places.shared_memory));
        if let Some(adapter) = self.second_level(places) {
            add("--l2-adapter", adapter.to_string());
        }
        let password = places.store.as_ref().and_then(|store| store.password.as_ref());
        Some(ServerCommand {
            name: "lmcache",
            program: stack.lmcache_program(),
            args,
            secrets: password.map(|password| password.reveal().to_owned()).into_iter().collect(),
        })
    }

    fn layout(&self, weights: &str, salt: Option<String>) -> Option<KeyLayout> {
        Some(server_layout(weights, self.ranks, salt))
    }
}

pub(in crate::local) fn clear(url: &Url) -> Result<(), DeployError> {
    let body = br#"{"tier": "l1", "force": false}"#.to_vec();
    fetch(&Fetch::post(url, "/cache/clear", "application/json", body))?.success()?;
    Ok(())
}

/// Over all backends.
pub(in crate::local) fn objects(url: &Url) -> Result<u64, DeployError> {
    let answer = fetch(&Fetch::get(url, "/status"))?.success()?;
    let unknown = || DeployError::Answer {
        url: format!("{url}/status"),
        problem: "it does not say how many objects it holds".to_owned(),
        remedy: "install LMCache 0.5 or later, whose server does".to_owned(),
    };
    let status: Value = serde_json::from_slice(&answer.body).map_err(|_| unknown())?;
    let manager = &status["storage_manager"];
    if let Some(managers) = manager["l1_managers"].as_object() {
        let counts: Option<Vec<u64>> =
            managers.values().map(|level| level["total_object_count"].as_u64()).collect();
        return counts.map(|counts| counts.iter().sum()).ok_or_else(unknown);
    }
    manager["l1_manager"]["total_object_count"].as_u64().ok_or_else(unknown)
}
