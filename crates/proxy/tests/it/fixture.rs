//! Replicas of Weir's engine, and a proxy in front of them.

use std::net::{SocketAddr, TcpListener};

use serde_json::json;
use weir_cluster::ClusterConfig;
use weir_engine::{EngineConfig, TimingConfig};
use weir_http::url::Url;
use weir_model::Nanos;
use weir_proxy::{Proxy, ProxyConfig, ProxyHandle};
use weir_router::{IndexConfig, Normalization, PolicyConfig, RouterConfig, ScorerWeights};
use weir_serve::kv_events::{EventForm, PublisherConfig};
use weir_serve::{ServeConfig, Server, ServerHandle, TimeMode};
use weir_service::suite::{Reply, eventually, metric, post};

pub(crate) const BLOCK: u32 = 16;

pub(crate) fn engine(blocks: u32, time: TimeMode) -> ServeConfig {
    let cluster = ClusterConfig {
        engine: EngineConfig {
            block_size: BLOCK,
            blocks,
            max_num_seqs: 64,
            max_num_batched_tokens: 2048,
            max_model_len: 4096,
            prefix_caching: true,
            watermark: 0.0,
            kv_bytes_per_token: 1000,
        },
        timing: TimingConfig::Fixed { base: Nanos::from_millis(5), per_token: Nanos::ZERO },
        offload: None,
        router: RouterConfig { policy: PolicyConfig::LeastLoaded, seed: 1 },
        replicas: 1,
        kv_events: false,
    };
    let mut config = ServeConfig::new(cluster, "tiny");
    config.time = time;
    config
}

pub(crate) fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("loopback has free ports")
}

pub(crate) fn free_port() -> u16 {
    listener().local_addr().expect("it is bound").port()
}

/// Which replica answered.
pub(crate) fn replica(reply: &Reply) -> &str {
    reply.header("x-weir-replica").expect("a replica answered")
}

pub(crate) fn url(address: SocketAddr) -> Url {
    Url::parse(&format!("http://{address}")).expect("an address is a URL")
}

/// Engines with KV events, and the endpoints of these.
pub(crate) struct Replicas {
    pub(crate) servers: Vec<ServerHandle>,
    pub(crate) endpoints: Vec<String>,
}

impl Replicas {
    pub(crate) fn start(count: usize, blocks: u32) -> Self {
        let (mut servers, mut endpoints) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (listener, port) = (listener(), free_port());
            let address = listener.local_addr().expect("it is bound");
            servers.push(publishing(listener, port, blocks, &format!("kv@{address}@tiny")));
            endpoints.push(format!("tcp://127.0.0.1:{port}"));
        }
        Self { servers, endpoints }
    }

    pub(crate) fn urls(&self) -> Vec<Url> {
        self.servers.iter().map(|server| url(server.addr)).collect()
    }

    pub(crate) fn hit_tokens(&self) -> f64 {
        let hits = |server: &ServerHandle| metric(server.addr, "vllm:prefix_cache_hits_total");
        self.servers.iter().map(hits).sum()
    }

    /// Until the proxy hears each replica.
    pub(crate) fn are_heard_by(&self, proxy: SocketAddr) {
        let mut number = 0;
        for server in &self.servers {
            let before = metric(proxy, "weir_route_event_batches_total");
            eventually("events of a replica", || {
                number += 1;
                let prompt: Vec<u32> = (0..32).map(|at| 100_000 + number * 32 + at).collect();
                let body = json!({"prompt": prompt, "max_tokens": 1});
                post(server.addr, "/v1/completions", &body);
                metric(proxy, "weir_route_event_batches_total") > before
            });
        }
    }
}

pub(crate) fn publishing(
    listener: TcpListener,
    port: u16,
    blocks: u32,
    topic: &str,
) -> ServerHandle {
    let mut config = engine(blocks, TimeMode::Instant);
    let publisher = PublisherConfig {
        // An address with `::` is bound.
        endpoint: format!("tcp://[::ffff:127.0.0.1]:{port}"),
        replay_endpoint: None,
        buffer_steps: 100,
        topic: topic.to_owned(),
    };
    config.kv_events = Some((publisher, EventForm::new(BLOCK)));
    Server::start(config, listener).expect("the configuration is sound")
}

/// Cold prompts go round, so that prefixes are spread evenly. Gauges do not count: one that was
/// read while a request ran would unbalance the prefixes.
const WEIGHTS: ScorerWeights =
    ScorerWeights { queue: 0.0, kv_usage: 0.0, prefix: 3.0, no_hit_lru: 1.0 };

pub(crate) fn precise() -> PolicyConfig {
    PolicyConfig::PrecisePrefix {
        weights: WEIGHTS,
        normalization: Normalization::MinMax,
        block_tokens: BLOCK,
        index: IndexConfig::default(),
        scrape_interval: PolicyConfig::SCRAPE_INTERVAL,
    }
}

pub(crate) fn approximate() -> PolicyConfig {
    PolicyConfig::ApproximatePrefix {
        weights: WEIGHTS,
        block_tokens: BLOCK,
        lru_blocks_per_replica: 1000,
        max_prefix_tokens: 4096,
        scrape_interval: PolicyConfig::SCRAPE_INTERVAL,
    }
}

pub(crate) fn config(urls: Vec<Url>, policy: PolicyConfig) -> ProxyConfig {
    let mut config = ProxyConfig::new(urls, RouterConfig { policy, seed: 7 });
    config.grace = Nanos::from_millis(100);
    config
}

pub(crate) fn start(config: ProxyConfig) -> ProxyHandle {
    Proxy::start(config, listener()).expect("the configuration is sound")
}
