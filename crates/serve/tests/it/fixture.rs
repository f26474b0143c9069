//! Small clusters to test with, and servers of them.

use std::net::TcpListener;

use weir_cluster::ClusterConfig;
use weir_engine::{ChunkBytes, EngineConfig, LoadMode, OffloadConfig, TimingConfig};
use weir_model::{Bytes, Mechanism, Nanos, Product, TierKind};
use weir_router::{PolicyConfig, RouterConfig};
use weir_serve::{ServeConfig, Server, ServerHandle, TimeMode};
use weir_tier::{EvictionPolicy, LinkConfig, StoreConfig, TierConfig};

pub(crate) const KV_BYTES: u64 = 1000;

pub(crate) fn cluster(blocks: u32) -> ClusterConfig {
    ClusterConfig {
        engine: EngineConfig {
            block_size: 16,
            blocks,
            max_num_seqs: 64,
            max_num_batched_tokens: 512,
            max_model_len: 4096,
            prefix_caching: true,
            watermark: 0.0,
            kv_bytes_per_token: KV_BYTES,
        },
        timing: TimingConfig::Fixed {
            base: Nanos::from_millis(5),
            per_token: Nanos::from_micros(20),
        },
        offload: None,
        router: RouterConfig { policy: PolicyConfig::LeastLoaded, seed: 1 },
        replicas: 1,
        kv_events: false,
    }
}

pub(crate) fn config(time: TimeMode) -> ServeConfig {
    let mut config = ServeConfig::new(cluster(2000), "tiny");
    config.time = time;
    config
}

pub(crate) fn start(config: ServeConfig) -> ServerHandle {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    Server::start(config, listener).expect("the configuration is sound")
}

fn link(bytes_per_s: f64) -> LinkConfig {
    LinkConfig {
        base_latency: Nanos::from_micros(10),
        per_copy: Nanos::from_micros(3),
        read_bytes_per_s: bytes_per_s,
        write_bytes_per_s: bytes_per_s,
        lanes: 1,
    }
}

pub(crate) fn native(tokens: u64) -> OffloadConfig {
    OffloadConfig {
        mechanism: Mechanism::Native,
        chunk_tokens: 16,
        chunk_bytes: ChunkBytes::whole(16 * KV_BYTES),
        prompt_only: true,
        load: LoadMode::Async,
        store_cost_per_chunk: Nanos::ZERO,
        copies_per_chunk: 1,
        tiers: vec![TierConfig {
            kind: TierKind::Host,
            capacity: Bytes(tokens * KV_BYTES),
            policy: EvictionPolicy::Lru,
            link: link(1e9),
        }],
        store: None,
    }
}

pub(crate) fn lmcache_with_store(host_tokens: u64, store_tokens: u64) -> OffloadConfig {
    OffloadConfig {
        mechanism: Mechanism::Lmcache,
        chunk_tokens: 256,
        chunk_bytes: ChunkBytes::whole(256 * KV_BYTES),
        prompt_only: false,
        load: LoadMode::InPass,
        store: Some(StoreConfig {
            product: Product::Redis,
            capacity: Bytes(store_tokens * KV_BYTES),
            policy: EvictionPolicy::Lru,
            link: link(1e9),
            client_bytes_per_s: 1e9,
            lookup_latency: Nanos::from_micros(200),
            lookup_per_key: Nanos::from_micros(10),
        }),
        ..native(host_tokens)
    }
}
