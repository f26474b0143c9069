use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weir_model::{Bytes, Product};
use weir_store::resp::StoreClient;
use weir_store::server::{StoreServer, StoreSettings};

use crate::binary::{Answer, weir};
use crate::tiers::has;

const SHORT: [&str; 10] = [
    "--block=64KiB",
    "--threads=1",
    "--depth=4",
    "--duration=60ms",
    "--warmup=5ms",
    "--repeats=2",
    "--no-differential",
    "--mix",
    "write,read",
    "--deadline=10s",
];

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn client(server: &StoreServer) -> StoreClient {
    StoreClient::new(&server.address(), &weir_http::TlsConfig::default()).unwrap()
}

fn keys(client: &StoreClient) -> i64 {
    client.call(&[b"DBSIZE"], soon()).unwrap().integer().unwrap()
}

#[test]
fn keys_of_others_are_not_evicted_for_a_probe() {
    if !has("keys_of_others_are_not_evicted", Product::Redis) {
        return;
    }
    let settings = StoreSettings { capacity: Some(Bytes(100_000_000)), ..Default::default() };
    let server = StoreServer::start(Product::Redis, settings).unwrap();
    let client = client(&server);
    client.call(&[b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-lru"], soon()).unwrap();
    let value = vec![7; 1_000_000];
    for number in 0..40 {
        client.call(&[b"SET", format!("other:{number}").as_bytes(), &value], soon()).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let target = server.address().to_string();
    let args = |set: &'static str| [&["probe", &target, "--working-set", set], &SHORT[..]].concat();
    for set in ["64MiB", "1x", "1000blocks"] {
        let refused = weir(folder.path(), &args(set)).refusal(3, folder.path());
        assert!(refused.contains("has 40 keys of others and room for"), "{set}: {refused}");
        assert!(refused.contains("allkeys-lru would evict them; give a smaller"), "{refused}");
    }
    let against = [&args("64MiB")[..], &["--against", "memory"]].concat();
    weir(folder.path(), &against).refusal(3, folder.path());
    assert_eq!(keys(&client), 40);
    weir(folder.path(), &args("8MiB")).done();
    assert_eq!(keys(&client), 40);
}

#[test]
fn other_clients_of_a_store_are_told() {
    if !has("other_clients_of_a_store", Product::Redis) {
        return;
    }
    let server = StoreServer::start(Product::Redis, StoreSettings::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let target = server.address().to_string();
    let args = [&["probe", &target, "--working-set=8MiB"], &SHORT[..]].concat();
    let told = |answer: &Answer| {
        let words = answer.out.split_whitespace().collect::<Vec<_>>().join(" ");
        words.contains("warning: other clients used the store meanwhile: it moved")
    };
    let alone = weir(folder.path(), &args).done();
    assert!(!told(&alone), "{}", alone.out);
    let other = client(&server);
    other.call(&[b"SET", b"other", &vec![7; 1_000_000]], soon()).unwrap();
    let ended = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                other.call(&[b"GET", b"other"], soon()).unwrap();
            }
        });
        let answer = weir(folder.path(), &args);
        ended.store(true, Ordering::Relaxed);
        answer.done()
    });
    assert!(told(&beside), "{}", beside.out);
}
