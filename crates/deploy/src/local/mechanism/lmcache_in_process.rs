//! LMCache inside vLLM, set by environment variables; each rank takes the sizes for itself.

use serde_json::{Value, json};
use weir_engine::OffloadConfig;
use weir_model::{Bytes, Mechanism, TierKind};
use weir_spec::plan::{Deployment, lmcache_ranks};
use weir_store::KeyLayout;

use super::super::command::{Places, gib};
use super::Connector;
use crate::remote::StorePlace;

#[derive(Debug)]
pub(super) struct LmcacheInProcess<'a> {
    offload: &'a OffloadConfig,
    /// Of a replica; the second is how many of them store.
    world: u32,
    ranks: u32,
}

impl<'a> LmcacheInProcess<'a> {
    pub(super) fn new(offload: &'a OffloadConfig, deployment: &Deployment) -> Self {
        let world = deployment.tensor_parallel;
        Self { offload, world, ranks: lmcache_ranks(&deployment.model, world) }
    }
}

impl Connector for LmcacheInProcess<'_> {
    fn transfer_config(&self, _places: &Places) -> Value {
        json!({"kv_connector": Mechanism::Lmcache.traits().connector, "kv_role": "kv_both"})
    }

    fn variables(&self, places: &Places) -> Vec<(String, String)> {
        let per_rank = |total: Bytes| (gib(total) / f64::from(self.ranks)).to_string();
        let mut env = vec![
            ("LMCACHE_CHUNK_SIZE".to_owned(), self.offload.chunk_tokens.to_string()),
            ("LMCACHE_PRE_CACHING_HASH_ALGORITHM".to_owned(), "sha256_cbor".to_owned()),
            ("LMCACHE_LOCAL_CPU".to_owned(), "True".to_owned()),
        ];
        for tier in &self.offload.tiers {
            match tier.kind {
                TierKind::Host => {
                    env.push(("LMCACHE_MAX_LOCAL_CPU_SIZE".to_owned(), per_rank(tier.capacity)));
                }
                TierKind::Disk => {
                    let folder = format!("file://{}/", places.disk.display());
                    env.push(("LMCACHE_LOCAL_DISK".to_owned(), folder));
                    env.push(("LMCACHE_MAX_LOCAL_DISK_SIZE".to_owned(), per_rank(tier.capacity)));
                }
                TierKind::Gpu | TierKind::Remote => {}
            }
        }
        if let Some(StorePlace { host, port, .. }) = &places.store {
            env.push(("LMCACHE_REMOTE_URL".to_owned(), format!("redis://{host}:{port}")));
            env.push(("LMCACHE_REMOTE_SERDE".to_owned(), "naive".to_owned()));
        }
        env
    }

    fn layout(&self, weights: &str, _salt: Option<String>) -> Option<KeyLayout> {
        Some(KeyLayout::LmcacheWorkers { model: weights.to_owned(), world_size: self.world })
    }
}
