//! KV events of an engine with a host tier, beside those of vLLM 0.32 for the same requests.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use serde_json::json;
use weir_engine::{ChunkBytes, EngineConfig, OffloadConfig};
use weir_model::{Bytes, Mechanism};
use weir_observe::kv_events::{HeardEvent, KvEventChange, decode};
use weir_serve::kv_events::{EventForm, PublisherConfig, TierForm};
use weir_serve::{ServeConfig, ServeError, Server, ServerHandle, TimeMode};
use weir_service::suite::{self, PATIENCE, post};
use weir_tier::TierConfig;
use zeromq::{Socket as _, SocketRecv as _, SubSocket};

use crate::fixture::{KV_BYTES, cluster, native};

const DESCRIBED: &str = include_str!("../fixtures/vllm-0.32.0/kv-events-described.jsonl");
const BLOCK_TOKENS: u32 = 32;
const CHUNK_TOKENS: u32 = 64;
/// First tokens of the prompts that vLLM was asked, of 130 tokens.
const STARTS: [u32; 5] = [10, 300, 600, 10, 900];
/// Nothing comes for this long: all is told.
const QUIET: Duration = Duration::from_millis(300);

/// Eight blocks over a host tier of six chunks of two.
fn config(events_port: u16) -> ServeConfig {
    let mut cluster = cluster(8);
    cluster.engine = EngineConfig { block_size: BLOCK_TOKENS, ..cluster.engine };
    let host = native(0).tiers.remove(0);
    let capacity = Bytes(6 * u64::from(CHUNK_TOKENS) * KV_BYTES);
    cluster.offload = Some(OffloadConfig {
        chunk_tokens: CHUNK_TOKENS,
        chunk_bytes: ChunkBytes::whole(u64::from(CHUNK_TOKENS) * KV_BYTES),
        tiers: vec![TierConfig { capacity, ..host }],
        ..native(0)
    });
    let tiers = TierForm {
        mechanism: Mechanism::Native,
        chunk_tokens: CHUNK_TOKENS,
        self_describing: true,
    };
    let form = EventForm {
        hash_seed: Some("0".to_owned()),
        tiers: Some(tiers),
        ..EventForm::new(BLOCK_TOKENS)
    };
    let publisher = PublisherConfig {
        endpoint: format!("tcp://*:{events_port}"),
        replay_endpoint: None,
        topic: String::new(),
        buffer_steps: PublisherConfig::BUFFER_STEPS,
    };
    let mut config = ServeConfig::new(cluster, "tiny");
    config.time = TimeMode::Real;
    config.kv_events = Some((publisher, form));
    config
}

/// With the port of its events, which another program may take before it does.
fn start() -> (ServerHandle, u16) {
    for _ in 0..10 {
        let free = TcpListener::bind("0.0.0.0:0").expect("a free port");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        match Server::start(config(port), listener) {
            Ok(server) => return (server, port),
            Err(ServeError::KvEvents(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no free port for KV events");
}

/// Hears an engine, one batch after another.
struct Subscriber {
    socket: SubSocket,
    runtime: tokio::runtime::Runtime,
}

impl Subscriber {
    /// A PUB socket does not tell when it knows its subscribers: asks until something is heard.
    fn of(port: u16, ask: impl Fn()) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let mut socket = SubSocket::new();
        runtime.block_on(async {
            socket.connect(&format!("tcp://127.0.0.1:{port}")).await.expect("it is bound");
            socket.subscribe("").await.expect("it is connected");
        });
        let mut subscriber = Self { socket, runtime };
        let began = std::time::Instant::now();
        loop {
            ask();
            if !subscriber.heard().is_empty() {
                return subscriber;
            }
            assert!(began.elapsed() < PATIENCE, "nothing heard");
        }
    }

    /// All that comes until it is quiet.
    fn heard(&mut self) -> Vec<HeardEvent> {
        let mut events = Vec::new();
        loop {
            let next = self.socket.recv();
            let next = self.runtime.block_on(async { tokio::time::timeout(QUIET, next).await });
            let Ok(message) = next else { return events };
            let message = message.expect("the connection holds");
            let payload = message.get(2).expect("three frames");
            events.extend(decode(payload).expect("a batch").events);
        }
    }
}

fn ask(address: SocketAddr, start: u32) {
    let prompt: Vec<u32> = (start..start + 130).collect();
    let body = json!({"prompt": prompt, "max_tokens": 1});
    assert_eq!(post(address, "/v1/completions", &body).status, 200);
}

fn reset(address: SocketAddr) {
    let path = "/reset_prefix_cache?reset_external=true";
    assert_eq!(suite::ask(address, "POST", path, "", b"").status, 200);
}

/// Those of the GPU in order. Of the host tier, stored chunks come in no order.
fn told(events: &[HeardEvent]) -> (Vec<HeardEvent>, Vec<HeardEvent>) {
    let (gpu, mut host): (Vec<_>, Vec<_>) =
        events.iter().cloned().partition(|event| event.medium == "gpu");
    host.sort_by_key(|event| (event.change != KvEventChange::Removed, event.hashes.clone()));
    (gpu, host)
}

fn captured() -> Vec<Vec<HeardEvent>> {
    let payload = |line: &str| {
        let frames: Vec<String> = serde_json::from_str(line).expect("three frames");
        let byte = |at: usize| u8::from_str_radix(&frames[2][at..at + 2], 16).expect("hex");
        (0..frames[2].len()).step_by(2).map(byte).collect::<Vec<u8>>()
    };
    DESCRIBED.lines().map(|line| decode(&payload(line)).expect("a batch").events).collect()
}

#[test]
fn the_host_tier_is_announced_as_by_vllm() {
    let (server, port) = start();
    let address = server.addr;
    let mut subscriber = Subscriber::of(port, || ask(address, 2000));
    reset(address);
    // Batches of vLLM for each request; the first one is told with our reset.
    let captured = captured();
    let parts = [0..2, 2..4, 4..6, 6..8, 8..10];
    let mut first = vec![cleared()];
    for (start, batches) in STARTS.into_iter().zip(parts) {
        ask(address, start);
        first.extend(captured[batches].concat());
        assert_eq!(told(&subscriber.heard()), told(&first), "the prompt from {start}");
        first.clear();
    }
    reset(address);
    ask(address, 10);
    assert_eq!(told(&subscriber.heard()), told(&captured[10..].concat()));
    server.shutdown().expect("it ends cleanly");
}

fn cleared() -> HeardEvent {
    HeardEvent {
        change: KvEventChange::Cleared,
        hashes: Vec::new(),
        parent: None,
        token_ids: Vec::new(),
        medium: "gpu".to_owned(),
        lora: None,
        extra: Vec::new(),
        group: None,
    }
}
