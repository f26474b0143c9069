//! Metrics and KV events from the events of live requests.

use weir_cluster::{Cluster, Replica};
use weir_engine::{OffloadConfig, Transfer, TransferKind};
use weir_model::{Bytes, KvEvent, Nanos, Software, StepRow, TierKind, Tokens};

use crate::clock::unix_seconds;
use crate::config::{ServeConfig, ServeError};
use crate::kv_events::{Event, Expander, Publisher};
use crate::metrics::{
    CacheConfig, EngineSnapshot, FinishedRequest, Metrics, TransferWay, mover_page,
};
use crate::mover::Mover;
use crate::requests::Watcher;
use crate::token_ids::TokenIds;

struct KvEventFeed {
    expander: Expander,
    publisher: Publisher,
    /// Of the running pass.
    pending: Vec<Event>,
    /// vLLM asks its connector for events after its own pool.
    of_tiers: Vec<Event>,
}

impl KvEventFeed {
    fn publish(&mut self) {
        self.pending.append(&mut self.of_tiers);
        if !self.pending.is_empty() {
            self.publisher.publish(unix_seconds(), std::mem::take(&mut self.pending));
        }
    }
}

pub(crate) struct Telemetry {
    metrics: Metrics,
    /// Start, in seconds since 1970.
    created: f64,
    cache: CacheConfig,
    offload: Option<OffloadConfig>,
    feeds: Vec<KvEventFeed>,
}

impl Telemetry {
    /// Needs a Tokio runtime.
    pub(crate) async fn open(config: &ServeConfig) -> Result<Self, ServeError> {
        let engine = &config.cluster.engine;
        let replicas = config.cluster.replicas.max(1);
        let model = config.models.first().map_or("", String::as_str);
        let block_bytes = engine.kv_bytes_per_token * u64::from(engine.block_size);
        let cache = CacheConfig {
            block_tokens: engine.block_size,
            // vLLM counts its null block.
            gpu_blocks: u64::from(engine.blocks) + 1,
            gpu_blocks_override: None,
            max_model_tokens: engine.max_model_len,
            prefix_caching: engine.prefix_caching,
            hash_algorithm: "sha256",
            gpu_memory_utilization: 0.9,
            kv_cache_bytes: block_bytes * u64::from(engine.blocks),
        };
        let mut feeds = Vec::new();
        if let Some((publisher, form)) = &config.kv_events {
            for rank in 0..replicas {
                let publisher = Publisher::open(publisher, form, rank).await?;
                feeds.push(KvEventFeed {
                    expander: form.expander(),
                    publisher,
                    pending: Vec::new(),
                    of_tiers: Vec::new(),
                });
            }
        }
        let created = unix_seconds();
        let metrics = Metrics::new(model, replicas, engine.max_model_len, created);
        Ok(Self { metrics, created, cache, offload: config.cluster.offload.clone(), feeds })
    }

    pub(crate) fn page(&self, cluster: &Cluster, mover: Option<&Mover>) -> String {
        let state: Vec<EngineSnapshot> =
            cluster.replicas().map(|replica| self.snapshot(replica)).collect();
        let mut page = self.metrics.page(&self.cache, &state);
        if let Some(mover) = mover {
            page.push_str(&mover_page(mover, self.created));
        }
        page
    }

    fn snapshot(&self, replica: &Replica) -> EngineSnapshot {
        let mut snapshot = EngineSnapshot {
            running: u64::from(replica.running()),
            // As vLLM's scheduler counts: a request in the front end is not in its queue yet.
            waiting: u64::from(replica.engine().waiting()),
            kv_usage: replica.kv_usage(),
            counters: replica.counters(),
            mechanism: self.offload.as_ref().map(OffloadConfig::traits),
            ..EngineSnapshot::default()
        };
        let lmcache = &mut snapshot.lmcache;
        for link in replica.links() {
            let (seconds, bytes) = match link.kind {
                TransferKind::Store => {
                    (&mut snapshot.store_seconds, &mut lmcache.remote_written_bytes)
                }
                TransferKind::Load => (&mut snapshot.load_seconds, &mut lmcache.remote_read_bytes),
            };
            *seconds += link.time.as_secs_f64();
            if link.tier == TierKind::Remote {
                *bytes += link.bytes.0;
            }
        }
        if let Some(offload) = replica.engine().offload() {
            let chunk = offload.chunk_bytes().0;
            let used = |tier| offload.cache(tier).map_or(0, |it| u64::from(it.used()) * chunk);
            lmcache.stored_tokens = offload.config().tokens(Bytes(snapshot.counters.stored_bytes));
            lmcache.local_bytes = used(TierKind::Host);
            lmcache.disk_bytes = used(TierKind::Disk);
        }
        snapshot
    }

    fn publish(&mut self, replica: u16) {
        if let Some(feed) = self.feeds.get_mut(usize::from(replica)) {
            feed.publish();
        }
    }

    pub(crate) fn take_publishers(&mut self) -> Vec<Publisher> {
        self.feeds.drain(..).map(|feed| feed.publisher).collect()
    }
}

impl Watcher for Telemetry {
    fn first_token(&mut self, replica: u16, waited: Nanos, prompt: Tokens, cached: &[Tokens; 4]) {
        self.metrics.engine(replica).first_token(waited, prompt, cached);
    }

    fn pass(&mut self, step: &StepRow) {
        self.metrics.engine(step.replica).pass_ended(step.gap, step.decoding);
        self.publish(step.replica);
    }

    fn transfers_told(&mut self, replica: u16) {
        self.publish(replica);
    }

    fn ended(&mut self, _tag: u64, replica: u16, request: &FinishedRequest) {
        let engine = self.metrics.engine(replica);
        engine.finished(request);
        engine.answered(1, request.output_tokens);
    }

    fn transferred(&mut self, replica: u16, transfer: &Transfer) {
        let native = self.offload.as_ref().is_some_and(|it| it.traits().software == Software::Vllm);
        if !native || transfer.tier != TierKind::Host {
            return;
        }
        let way = match transfer.kind {
            TransferKind::Store => TransferWay::Store,
            TransferKind::Load => TransferWay::Load,
        };
        let engine = self.metrics.engine(replica);
        engine.transferred(way, transfer.bytes.0);
        if way == TransferWay::Store {
            engine.store_prepared(u64::from(transfer.to_chunk - transfer.from_chunk));
        }
    }

    fn kv_event(&mut self, _at: Nanos, replica: u16, event: &KvEvent, tokens: &dyn TokenIds) {
        if let Some(feed) = self.feeds.get_mut(usize::from(replica)) {
            let of_gpu = event.tier == TierKind::Gpu;
            let into = if of_gpu { &mut feed.pending } else { &mut feed.of_tiers };
            feed.expander.expand(event, tokens, into);
        }
    }
}
