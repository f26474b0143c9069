use std::convert::Infallible;

use weir_engine::{ChunkBytes, EngineConfig, LoadMode, OffloadConfig, TimingConfig};
use weir_model::{Bytes, Mechanism, Nanos, Product, RequestRow, StepRow, TierKind};
use weir_router::{PolicyConfig, RouterConfig};
use weir_sim::{Load, Recorder, Summary, World, WorldConfig};
use weir_tier::{EvictionPolicy, LinkConfig, StoreConfig, TierConfig};
use weir_workload::config::{Count, Draw, Length, SharedPrefix};
use weir_workload::{Ramp, SourceOptions, WorkloadConfig, open};

#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) requests: Vec<RequestRow>,
    pub(crate) steps: Vec<StepRow>,
}

impl Recorder for Kept {
    type Error = Infallible;
    fn request(&mut self, row: &RequestRow) -> Result<(), Infallible> {
        self.requests.push(row.clone());
        Ok(())
    }
    fn step(&mut self, row: &StepRow) -> Result<(), Infallible> {
        self.steps.push(*row);
        Ok(())
    }
}

pub(crate) const KV_BYTES: u64 = 1000;

pub(crate) fn world(blocks: u32, users: u32, requests: u64) -> WorldConfig {
    WorldConfig {
        engine: EngineConfig {
            block_size: 16,
            blocks,
            max_num_seqs: 64,
            max_num_batched_tokens: 512,
            max_model_len: 8192,
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
        load: Load::Users(Ramp::new(users, Nanos::ZERO)),
        duration: None,
        warmup: Nanos::ZERO,
        drain: Nanos::from_secs(30),
        max_requests: Some(requests),
    }
}

pub(crate) fn link(bytes_per_s: f64) -> LinkConfig {
    LinkConfig {
        base_latency: Nanos::from_micros(10),
        per_copy: Nanos::from_micros(3),
        read_bytes_per_s: bytes_per_s,
        write_bytes_per_s: bytes_per_s,
        lanes: 1,
    }
}

pub(crate) fn host_tier(tokens: u64) -> TierConfig {
    TierConfig {
        kind: TierKind::Host,
        capacity: Bytes(tokens * KV_BYTES),
        policy: EvictionPolicy::Lru,
        link: link(1e9),
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
        tiers: vec![host_tier(tokens)],
        store: None,
    }
}

pub(crate) fn lmcache_with_store(host_tokens: u64, store_tokens: u64) -> OffloadConfig {
    OffloadConfig {
        mechanism: Mechanism::Lmcache,
        chunk_tokens: 256,
        chunk_bytes: ChunkBytes::whole(256 * KV_BYTES),
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

/// Prefixes are drawn uniformly.
pub(crate) fn workload(prefixes: u64, prefix_tokens: u32, turns: u32) -> WorkloadConfig {
    WorkloadConfig::SharedPrefix(SharedPrefix {
        prefixes: Count::Absolute(prefixes),
        draw: Draw::Uniform,
        prefix_tokens,
        turns,
        prompt_tokens: Length::Uniform { min: 10, max: 90 },
        output_tokens: Length::Uniform { min: 1, max: 60 },
        think: Nanos::from_millis(30),
    })
}

pub(crate) fn run(config: WorldConfig, workload: &WorkloadConfig, seed: u64) -> (Kept, Summary) {
    let options = SourceOptions {
        seed,
        max_model_len: weir_model::Tokens(config.engine.max_model_len),
        trace_speed: 1.0,
        trace_folder: ".".into(),
    };
    let mut source = open(workload, &options).expect("the fixture is valid");
    let mut kept = Kept::default();
    let world = World::new(config, &mut source, &mut kept).expect("the fixture is valid");
    let summary = world.run(|_, _| true).expect("nothing can fail").expect("nobody stops it");
    (kept, summary)
}
