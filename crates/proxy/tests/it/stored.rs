//! The index in Redis and Valkey, in llm-d's layout.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_http::TlsConfig;
use weir_model::Product;
use weir_service::suite::{ask, eventually, metric, post};
use weir_store::StoreClient;
use weir_store::server::{StoreServer, StoreSettings, program};

use crate::fixture::{Replicas, config, precise, replica, start};

/// None after printing the reason.
fn store(product: Product, test: &str) -> Option<StoreServer> {
    if program(product).is_none() {
        let fails = std::env::var("CI").as_deref() == Ok("true");
        assert!(!fails, "{test}: {product} is absent: {}", product.traits().install);
        println!("SKIPPED {test}: {product} is absent: {}", product.traits().install);
        return None;
    }
    Some(StoreServer::start(product, StoreSettings::default()).expect("it starts"))
}

fn shared_by_two(product: Product) {
    let Some(store) = store(product, "an index in a store") else { return };
    let replicas = Replicas::start(2, 2000);
    let with_index = |endpoints: Vec<String>| {
        let mut config = config(replicas.urls(), precise());
        config.kv_events = endpoints;
        config.index = Some(store.address());
        start(config)
    };
    let first = with_index(replicas.endpoints.clone());
    replicas.are_heard_by(first.addr);
    // It hears nothing itself: whatever it knows is the store's.
    let second = with_index(vec!["tcp://127.0.0.1:1".to_owned()]);
    let prompt: Vec<u32> = (0..320).collect();
    let body = json!({"model": "tiny", "prompt": prompt, "max_tokens": 1});
    let home = replica(&post(first.addr, "/v1/completions", &body)).to_owned();
    let client = StoreClient::new(&store.address(), &TlsConfig::default()).expect("an address");
    let call = |words: &[&[u8]]| {
        client.call(words, Instant::now() + Duration::from_secs(5)).expect("it answers")
    };
    let keys = || call(&[b"DBSIZE"]).integer().expect("a number");
    let before = keys();
    eventually("a hit of the second", || {
        let reply = post(second.addr, "/v1/completions", &body);
        assert_eq!(reply.status, 200);
        metric(second.addr, "weir_route_index_lookup_hits_total") > 0.0 && replica(&reply) == home
    });
    eventually("its blocks", || keys() >= 40);
    assert!(before <= keys());
    let hasher = weir_model::block::LlmDHasher::new("", "tiny");
    let first_key = hasher.hash_tainted_block(
        weir_model::block::BlockHasher::root(&hasher),
        &prompt[..16],
        &[],
    );
    let fields = call(&[b"HKEYS", first_key.to_string().as_bytes()]);
    let field: Value =
        serde_json::from_str(fields.elements()[0].text().expect("text")).expect("JSON");
    assert_eq!(
        field,
        json!({"PodIdentifier": home, "DeviceTier": "gpu", "Speculative": false,
               "HasGroup": true, "GroupIdx": 0})
    );
    // Without a count of what others stored, the store's own is the truth.
    let cleared = ask(first.addr, "POST", "/reset_prefix_cache", "", b"");
    assert_eq!(cleared.body, r#"{"success":true}"#);
    for server in &replicas.servers {
        post(server.addr, "/v1/completions", &json!({"prompt": [1, 2], "max_tokens": 1}));
    }
    eventually("no block", || {
        let exists = call(&[b"EXISTS", first_key.to_string().as_bytes()]);
        exists.integer() == Some(0)
    });
    assert_eq!(metric(first.addr, "weir_route_index_event_failures_total"), 0.0);
    drop(store);
    // Routing goes on without the store, and says so.
    let reply = post(second.addr, "/v1/completions", &body);
    assert_eq!(reply.status, 200);
    assert!(metric(second.addr, "weir_route_index_lookup_failures_total") > 0.0);
}

#[test]
fn two_proxies_share_an_index_in_redis() {
    shared_by_two(Product::Redis);
}

#[test]
fn two_proxies_share_an_index_in_valkey() {
    shared_by_two(Product::Valkey);
}

#[test]
fn evicted_blocks_leave_the_store() {
    let Some(store) = store(Product::Redis, "evictions in a store") else { return };
    // A pool of 64 blocks: 30 prompts of 20 blocks evict each other.
    let replicas = Replicas::start(1, 64);
    let mut config = config(replicas.urls(), precise());
    config.kv_events.clone_from(&replicas.endpoints);
    config.index = Some(store.address());
    let proxy = start(config);
    replicas.are_heard_by(proxy.addr);
    for number in 0..30_u32 {
        let prompt: Vec<u32> = (0..320).map(|at| 1000 + number * 320 + at).collect();
        let body = json!({"model": "tiny", "prompt": prompt, "max_tokens": 1});
        assert_eq!(post(proxy.addr, "/v1/completions", &body).status, 200);
    }
    let client = StoreClient::new(&store.address(), &TlsConfig::default()).expect("an address");
    let keys = || {
        let deadline = Instant::now() + Duration::from_secs(5);
        client.call(&[b"DBSIZE"], deadline).expect("it answers").integer().expect("a number")
    };
    // A key of the block and one of the engine's name for it.
    eventually("as few keys as blocks", || keys() <= 2 * 64 && keys() > 2 * 40);
    assert_eq!(metric(proxy.addr, "weir_route_index_event_failures_total"), 0.0);
}
