//! Offload mechanisms whose bytes really move.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use weir_engine::{ChunkBytes, OffloadConfig};
use weir_model::TierKind;
use weir_serve::mover::{BATCH, MoverConfig};
use weir_serve::{ServeConfig, ServerHandle, TimeMode};
use weir_service::suite::{self, eventually, metric, post};
use weir_store::memory::{MemoryOptions, MemoryTier};
use weir_store::{
    ChunkHash, Get, Loaded, Put, Slab, Stored, Tier, TierCounters, TierError, TierFault, TierUsage,
};
use weir_tier::{EvictionPolicy, TierConfig};

use crate::fixture::{KV_BYTES, config, lmcache_with_store, native, start};

const BLOCK_BYTES: usize = 64 << 10;

fn memory(capacity: u32) -> MemoryTier {
    let eviction = EvictionPolicy::Lru;
    MemoryTier::new(MemoryOptions { capacity, block_bytes: BLOCK_BYTES, eviction })
        .expect("a few MiB are there")
}

/// Host memory in the place of another tier, with injected faults.
#[derive(Debug)]
struct Store {
    kind: TierKind,
    memory: MemoryTier,
    /// Loads give the bytes of another chunk.
    swaps: AtomicBool,
    is_gone: AtomicBool,
}

impl Store {
    fn new(kind: TierKind, capacity: u32) -> Self {
        let (swaps, is_gone) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { kind, memory: memory(capacity), swaps, is_gone }
    }

    fn gone(&self) -> bool {
        self.is_gone.load(Ordering::SeqCst)
    }
}

impl Tier for Store {
    fn kind(&self) -> TierKind {
        self.kind
    }
    fn place(&self) -> String {
        "the test's store".to_owned()
    }
    fn block_bytes(&self) -> usize {
        self.memory.block_bytes()
    }
    fn put(&self, puts: &[Put<'_>], deadline: Instant, outcomes: &mut [Stored]) {
        if self.gone() {
            return outcomes.fill(Stored::Failed(TierFault::Disconnected));
        }
        self.memory.put(puts, deadline, outcomes);
    }
    fn get(&self, gets: &mut [Get<'_>], deadline: Instant, outcomes: &mut [Loaded]) {
        if self.gone() {
            return outcomes.fill(Loaded::Failed(TierFault::Disconnected));
        }
        self.memory.get(gets, deadline, outcomes);
        if self.swaps.load(Ordering::SeqCst)
            && let [first, second, ..] = gets
        {
            first.into.swap_with_slice(second.into);
        }
    }
    fn contains(
        &self,
        keys: &[ChunkHash],
        deadline: Instant,
        present: &mut [bool],
    ) -> Result<(), TierError> {
        if self.gone() {
            let (fault, problem) = (TierFault::Disconnected, "gone".to_owned());
            return Err(TierError { fault, place: self.place(), problem });
        }
        self.memory.contains(keys, deadline, present)
    }
    fn remove(&self, keys: &[ChunkHash], deadline: Instant) -> Result<(), TierError> {
        self.memory.remove(keys, deadline)
    }
    fn clear(&self, deadline: Instant) -> Result<(), TierError> {
        if self.gone() {
            let (fault, problem) = (TierFault::Disconnected, "gone".to_owned());
            return Err(TierError { fault, place: self.place(), problem });
        }
        self.memory.clear(deadline)
    }
    fn usage(&self, deadline: Instant) -> Result<TierUsage, TierError> {
        self.memory.usage(deadline)
    }
    fn counters(&self) -> TierCounters {
        self.memory.counters()
    }
}

fn serve(
    offload: OffloadConfig,
    local: Vec<Vec<Arc<dyn Tier>>>,
    store: Option<Arc<dyn Tier>>,
) -> ServerHandle {
    let mut config: ServeConfig = config(TimeMode::Instant);
    config.cluster.engine.blocks = 200;
    config.cluster.replicas = local.len() as u16;
    config.mover = Some(MoverConfig {
        chunk_tokens: offload.chunk_tokens,
        block_bytes: BLOCK_BYTES,
        byte_scale: 1.0,
        local,
        store,
        keeps_copies_of: offload.traits().keeps_copies_of,
        workers: 2,
        slab: Slab::new(2 * BATCH as u32, BLOCK_BYTES).expect("a few blocks"),
        deadline: Duration::from_secs(10),
    });
    config.cluster.offload = Some(offload);
    start(config)
}

/// A prompt of 2,048 tokens, different per number. Returns the answer's text and the cached prompt
/// tokens.
fn ask(address: SocketAddr, number: u32) -> (String, u64) {
    let prompt: Vec<u32> = (0..2048).map(|at| 10 + number * 4096 + at).collect();
    let body = json!({ "model": "tiny", "prompt": prompt, "max_tokens": 2, "ignore_eos": true });
    let answer = post(address, "/v1/completions", &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let json = answer.json();
    let text = json["choices"][0]["text"].as_str().expect("a text").to_owned();
    let cached = &json["usage"]["prompt_tokens_details"]["cached_tokens"];
    (text, cached.as_u64().unwrap_or(0))
}

fn blocks(address: SocketAddr, tier: &str, outcome: &str) -> f64 {
    labelled(address, "weir_tier_blocks_total", &format!("outcome=\"{outcome}\",tier=\"{tier}\""))
}

fn events(address: SocketAddr, event: &str) -> f64 {
    labelled(address, "weir_carrier_events_total", &format!("event=\"{event}\""))
}

fn labelled(address: SocketAddr, name: &str, labels: &str) -> f64 {
    let page = suite::get(address, "/metrics").body;
    let start = format!("{name}{{{labels}}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&start));
    line.expect("the family is there").parse().expect("a number")
}

#[test]
fn what_left_the_gpu_comes_back_from_host_memory_byte_for_byte() {
    let server = serve(native(20_000), vec![vec![Arc::new(memory(1300))]], None);
    let address = server.addr;
    let first = ask(address, 0);
    eventually("the first prompt's store", || blocks(address, "host", "stored") >= 128.0);
    // 2 x 2,048 tokens evict the first prompt from 3,200.
    for number in 1..3 {
        ask(address, number);
    }
    let again = ask(address, 0);
    assert_eq!(first.1, 0);
    assert_eq!(again, (first.0, 2047));
    assert_eq!(blocks(address, "host", "hit"), 128.0);
    assert_eq!((events(address, "wrong_block"), events(address, "failed_load")), (0.0, 0.0));
    assert_eq!(metric(address, "vllm:external_prefix_cache_hits_total"), 2047.0);
    let bytes = "weir_tier_bytes_total";
    let loaded = labelled(address, bytes, "direction=\"load\",tier=\"host\"");
    assert_eq!(loaded, 128.0 * BLOCK_BYTES as f64);
    server.shutdown().unwrap();
}

#[test]
fn a_tier_lets_go_of_what_the_mechanism_evicts() {
    // 4,096 tokens by the mechanism; the tier could hold more.
    let tier = Arc::new(memory(2000));
    let server = serve(native(4096), vec![vec![Arc::clone(&tier) as Arc<dyn Tier>]], None);
    for number in 0..6 {
        ask(server.addr, number);
        // Chunks in transfer cannot be evicted, and a store without room is dropped.
        eventually("the store", || tier.counters().stored == 128 * (u64::from(number) + 1));
    }
    eventually("the drops", || {
        tier.usage(Instant::now() + Duration::from_secs(1)).unwrap().chunks == 256
    });
    server.shutdown().unwrap();
}

#[test]
fn what_comes_from_the_disk_is_in_host_memory_from_then_on() {
    // Chunks of 256 tokens; host memory for two prompts, disk for all.
    let mut offload = OffloadConfig {
        chunk_tokens: 256,
        chunk_bytes: ChunkBytes::whole(256 * KV_BYTES),
        ..native(4096)
    };
    let disk = TierConfig { kind: TierKind::Disk, ..native(60_000).tiers[0].clone() };
    offload.tiers.push(disk);
    let disk = Arc::new(Store::new(TierKind::Disk, 200));
    let tiers: Vec<Arc<dyn Tier>> = vec![Arc::new(memory(32)), Arc::clone(&disk) as Arc<dyn Tier>];
    let server = serve(offload, vec![tiers], None);
    let address = server.addr;
    let (first, _) = ask(address, 0);
    for number in 0..3 {
        ask(address, number);
        eventually("the store", || disk.counters().stored == 8 * (u64::from(number) + 1));
    }
    assert_eq!(ask(address, 0), (first.clone(), 2047));
    assert_eq!(disk.counters().hits, 8);
    let from_host = blocks(address, "host", "hit");
    ask(address, 2);
    assert_eq!(ask(address, 0), (first, 2047));
    assert!(blocks(address, "host", "hit") > from_host);
    assert_eq!(disk.counters().hits, 8);
    assert_eq!((events(address, "wrong_block"), events(address, "failed_load")), (0.0, 0.0));
    server.shutdown().unwrap();
}

#[test]
fn wrong_bytes_are_noticed_and_computed_instead() {
    let store = Arc::new(Store::new(TierKind::Remote, 100));
    let server = serve(
        lmcache_with_store(8 * 256, 20_000),
        vec![vec![Arc::new(memory(8))]],
        Some(Arc::clone(&store) as Arc<dyn Tier>),
    );
    let address = server.addr;
    let first = ask(address, 0);
    eventually("the first prompt's store", || store.counters().stored == 8);
    // 2 x 2,048 tokens evict it from GPU and host memory.
    for number in 1..3 {
        ask(address, number);
        eventually("the store", || store.counters().stored == 8 * (u64::from(number) + 1));
    }
    store.swaps.store(true, Ordering::SeqCst);
    let again = ask(address, 0);
    assert_eq!(again.0, first.0, "an answer is a function of its prompt");
    assert!(events(address, "wrong_block") >= 2.0);
    assert_eq!(metric(address, "vllm:external_prefix_cache_hits_total"), 0.0);
    server.shutdown().unwrap();
}

fn reset(address: SocketAddr, query: &str) -> (u16, String) {
    let path = format!("/reset_prefix_cache{query}");
    let answer = suite::ask(address, "POST", &path, "", b"");
    (answer.status, answer.body)
}

#[test]
fn a_reset_empties_what_it_is_asked_to_empty() {
    let store = Arc::new(Store::new(TierKind::Remote, 100));
    let host = Arc::new(memory(8));
    let server = serve(
        lmcache_with_store(8 * 256, 20_000),
        vec![vec![Arc::clone(&host) as Arc<dyn Tier>]],
        Some(Arc::clone(&store) as Arc<dyn Tier>),
    );
    let address = server.addr;
    let done = (200, r#"{"success":true}"#.to_owned());
    let chunks = |tier: &dyn Tier| tier.usage(Instant::now() + Duration::from_secs(1)).unwrap();
    let first = ask(address, 0);
    eventually("the first prompt's stores", || store.counters().stored == 8);
    // Only the GPU cache: the tiers serve the prompt again.
    eventually("a reset", || reset(address, "") == done);
    assert_eq!(ask(address, 0), (first.0.clone(), 2047));
    assert!(blocks(address, "host", "hit") > 0.0);
    // The tiers too: the reset waits for transfers, and nothing is served after it.
    eventually("a reset of all", || reset(address, "?reset_external=true") == done);
    assert_eq!((chunks(&*host).chunks, chunks(&*store).chunks), (0, 0));
    assert_eq!(ask(address, 0), (first.0.clone(), 0));
    eventually("the stores", || store.counters().stored == 16);
    eventually("a reset", || reset(address, "?reset_external=false") == done);
    assert_eq!(ask(address, 0), (first.0, 2047));
    assert_eq!((events(address, "wrong_block"), events(address, "failed_load")), (0.0, 0.0));
    assert_eq!(reset(address, "?reset_external=maybe").0, 422);
    // A store that cannot be emptied is reported.
    store.is_gone.store(true, Ordering::SeqCst);
    eventually("a refusal", || reset(address, "?reset_external=1").0 == 500);
    let (_, body) = reset(address, "?reset_external=1");
    assert!(body.contains("the test's store: gone"), "{body}");
    server.shutdown().unwrap();
}

#[test]
fn a_reset_empties_modelled_tiers_too() {
    let mut config: ServeConfig = config(TimeMode::Instant);
    config.cluster.engine.blocks = 200;
    config.cluster.offload = Some(lmcache_with_store(8 * 256, 20_000));
    let server = start(config);
    let address = server.addr;
    let done = (200, r#"{"success":true}"#.to_owned());
    let moved = |way: &str| metric(address, &format!("lmcache:num_remote_{way}_bytes_total"));
    let prompt_bytes = 2048.0 * KV_BYTES as f64;
    for number in 0..3 {
        ask(address, number);
        // Passes take no time but transfers do, so a request before the bytes arrived is a miss.
        eventually("the store", || moved("write") == prompt_bytes * f64::from(number + 1));
    }
    eventually("a reset", || reset(address, "") == done);
    // Host memory holds one prompt, so the first comes from the store.
    assert_eq!(ask(address, 0).1, 2047);
    assert_eq!(moved("read"), prompt_bytes);
    eventually("a reset of all", || reset(address, "?reset_external=true") == done);
    for number in 0..3 {
        assert_eq!(ask(address, number).1, 0);
    }
    server.shutdown().unwrap();
}

#[test]
fn replicas_share_a_store_and_survive_its_loss() {
    let store = Arc::new(Store::new(TierKind::Remote, 200));
    let local = || vec![Arc::new(memory(8)) as Arc<dyn Tier>];
    let server = serve(
        lmcache_with_store(8 * 256, 60_000),
        vec![local(), local()],
        Some(Arc::clone(&store) as Arc<dyn Tier>),
    );
    let address = server.addr;
    let mut first = Vec::new();
    for number in 0..6 {
        first.push(ask(address, number).0);
        // Transfers to the store occupy host memory; beyond it they are dropped.
        eventually("the store", || store.counters().stored >= 8 * (u64::from(number) + 1));
    }
    let again: Vec<_> = (0..6).map(|number| ask(address, number)).collect();
    assert!(first.iter().zip(&again).all(|(one, other)| *one == other.0));
    assert!(blocks(address, "remote", "hit") > 0.0);
    assert_eq!(events(address, "wrong_block"), 0.0);
    // Without the store prompts are computed, and nothing hangs.
    store.is_gone.store(true, Ordering::SeqCst);
    let alone: Vec<_> = (0..12).map(|number| ask(address, number % 6).0).collect();
    assert!(first.iter().cycle().zip(&alone).all(|(one, other)| one == other));
    server.shutdown().unwrap();
}
