//! Small clusters, and an observer that checks the order of calls.

use std::collections::BTreeMap;

use weir_cluster::{Cluster, ClusterConfig, Finished, Observer, SubmitError};
use weir_engine::config::AnalyticConfig;
use weir_engine::{ChunkBytes, EngineConfig, LoadMode, OffloadConfig, TimingConfig, Transfer};
use weir_model::{
    Accelerator, Bytes, ContentId, KernelFit, KvChange, KvEvent, Mechanism, ModelShape, Nanos,
    Piece, Product, Prompt, Request, StepRow, TierKind, Tokens,
};
use weir_router::{PolicyConfig, RouterConfig};
use weir_tier::{EvictionPolicy, LinkConfig, StoreConfig, TierConfig};

pub(crate) const KV_BYTES: u64 = 1000;

pub(crate) fn config(blocks: u32) -> ClusterConfig {
    ClusterConfig {
        engine: EngineConfig {
            block_size: 16,
            blocks,
            max_num_seqs: 64,
            max_num_batched_tokens: 256,
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
        kv_events: true,
    }
}

/// Analytic passes behind a slow front end.
pub(crate) fn analytic(front_end: Nanos) -> TimingConfig {
    TimingConfig::Analytic(Box::new(AnalyticConfig {
        model: ModelShape {
            name: "small".to_owned(),
            layers: 28,
            hidden: 1024,
            heads: 16,
            kv_heads: 8,
            head_dim: 128,
            intermediate: 3072,
            vocabulary: 151_936,
            context: 40_960,
            weight_bytes: Some(Bytes(1_191_968_768)),
            bytes_per_weight: 2.0,
            kv_bytes_per_element: 2,
            experts: None,
            latent: None,
            kv_layers: Vec::new(),
        },
        accelerator: Accelerator {
            name: "some".to_owned(),
            memory_mib: 46_068,
            bf16_tflops: 362.0,
            memory_gb_per_s: 864.0,
            l2_mib: 96,
            host_link_gb_per_s: 23.0,
            fit: KernelFit {
                gemm_flops_share: 0.644,
                gemm_bandwidth_share: 0.804,
                gemm_fixed_us: 1.1,
                gemm_blend: 2.19,
                decode_bandwidth_share: 0.84,
                prefill_flops_share: 0.51,
                prefill_half_tokens: 450.0,
                all_reduce: Vec::new(),
            },
            calibrated: true,
        },
        tensor_parallel: 1,
        async_scheduling: false,
        cascade_attention: true,
        cpu_per_pass: Nanos::from_micros(2_500),
        cpu_per_sequence: Nanos::from_micros(140),
        front_end,
    }))
}

fn link() -> LinkConfig {
    LinkConfig {
        base_latency: Nanos::from_micros(10),
        per_copy: Nanos::from_micros(3),
        // Slow, so that aborts meet transfers in flight.
        read_bytes_per_s: 2e7,
        write_bytes_per_s: 2e7,
        lanes: 1,
    }
}

pub(crate) fn native(tokens: u64) -> OffloadConfig {
    OffloadConfig {
        mechanism: Mechanism::Native,
        chunk_tokens: 16,
        chunk_bytes: ChunkBytes::whole(16 * KV_BYTES),
        prompt_only: false,
        load: LoadMode::Async,
        store_cost_per_chunk: Nanos::from_micros(1),
        copies_per_chunk: 1,
        tiers: vec![TierConfig {
            kind: TierKind::Host,
            capacity: Bytes(tokens * KV_BYTES),
            policy: EvictionPolicy::Lru,
            link: link(),
        }],
        store: None,
    }
}

pub(crate) fn lmcache(load: LoadMode, host_tokens: u64, store_tokens: u64) -> OffloadConfig {
    OffloadConfig {
        mechanism: Mechanism::Lmcache,
        chunk_tokens: 64,
        chunk_bytes: ChunkBytes::whole(64 * KV_BYTES),
        prompt_only: true,
        load,
        store: Some(StoreConfig {
            product: Product::Redis,
            capacity: Bytes(store_tokens * KV_BYTES),
            policy: EvictionPolicy::Lru,
            link: link(),
            client_bytes_per_s: 1e9,
            lookup_latency: Nanos::from_millis(4),
            lookup_per_key: Nanos::from_micros(10),
        }),
        ..native(host_tokens)
    }
}

pub(crate) fn request(id: u64, pieces: &[(u64, u32)], output_tokens: u32) -> Request {
    let pieces = pieces.iter().map(|(content, len)| Piece::new(ContentId(*content), *len));
    Request {
        id,
        session: id,
        turn: 0,
        prompt: Prompt::new(pieces),
        output_tokens: Tokens(output_tokens),
        output: ContentId(1_000_000 + id),
        seen_tokens: Tokens::ZERO,
    }
}

/// Events of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) scheduled: Option<Nanos>,
    pub(crate) first_token: Option<Nanos>,
    pub(crate) tokens: u32,
    pub(crate) last_token: Option<Nanos>,
    pub(crate) finished: Option<Nanos>,
    pub(crate) refused: bool,
    pub(crate) aborted: bool,
}

impl Told {
    pub(crate) const fn is_over(&self) -> bool {
        self.finished.is_some() || self.refused || self.aborted
    }
}

/// Records calls, and panics at invalid ones.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) requests: BTreeMap<u64, Told>,
    pub(crate) steps: Vec<StepRow>,
    pub(crate) preemptions: u64,
    pub(crate) cleared: u32,
    pub(crate) transfers: u64,
    /// Last time of a call; never decreases.
    now: Nanos,
}

impl Log {
    fn told(&mut self, at: Nanos, tag: u64) -> &mut Told {
        self.at(at);
        let told = self.requests.entry(tag).or_default();
        assert!(!told.is_over(), "{tag} is over, and something is told of it at {at:?}");
        told
    }

    fn at(&mut self, at: Nanos) {
        assert!(self.now <= at, "time runs backwards from {:?} to {at:?}", self.now);
        self.now = at;
    }
}

impl Observer for Log {
    const TOKENS: bool = true;

    fn refused(&mut self, at: Nanos, tag: u64, _why: &SubmitError) {
        let told = self.told(at, tag);
        assert_eq!(told.scheduled, None);
        told.refused = true;
    }

    fn scheduled(&mut self, at: Nanos, tag: u64, _cached: [Tokens; 4]) {
        let told = self.told(at, tag);
        assert_eq!(told.scheduled.replace(at), None, "{tag} is scheduled once");
    }

    fn first_token(&mut self, at: Nanos, tag: u64, _cached: [Tokens; 4]) {
        let told = self.told(at, tag);
        assert!(told.scheduled.is_some_and(|scheduled| scheduled <= at));
        assert_eq!(told.first_token.replace(at), None, "{tag} has one first token");
        assert_eq!(told.tokens, 0);
    }

    fn token(&mut self, at: Nanos, tag: u64) {
        let told = self.told(at, tag);
        assert!(told.first_token.is_some(), "the first token is told before it is counted");
        assert_ne!(told.last_token.replace(at), Some(at), "{tag} gets one token per pass");
        told.tokens += 1;
    }

    fn finished(&mut self, at: Nanos, tag: u64, finished: &Finished) {
        self.preemptions += u64::from(finished.preemptions);
        let told = self.told(at, tag);
        assert_eq!(told.last_token, Some(at), "{tag} finishes with its last token");
        assert_eq!(told.tokens, finished.output_tokens.0);
        told.finished = Some(at);
    }

    fn pass(&mut self, step: &StepRow) {
        self.at(step.end);
        self.steps.push(*step);
    }

    fn transferred(&mut self, at: Nanos, _replica: u16, _transfer: &Transfer, _took: Nanos) {
        self.at(at);
        self.transfers += 1;
    }

    fn kv_event(&mut self, at: Nanos, _replica: u16, event: &KvEvent) {
        self.at(at);
        self.cleared += u32::from(event.change == KvChange::Cleared);
    }
}

/// Handles all events due by `now`.
pub(crate) fn step_to(cluster: &mut Cluster, now: Nanos, log: &mut Log) {
    while cluster.next_at().is_some_and(|at| at <= now) {
        cluster.step(log);
    }
}

pub(crate) fn drain(cluster: &mut Cluster, log: &mut Log) {
    while cluster.step(log) {}
}
