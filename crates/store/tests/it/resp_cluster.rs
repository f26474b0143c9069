//! A real cluster of three servers: keys reach their servers, also after slots move.

use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use weir_http::TlsConfig;
use weir_model::Product;
use weir_store::resp::StoreClient;
use weir_store::resp::slots::slot;
use weir_store::resp::value::Value;
use weir_store::server::{StoreServer, StoreSettings};
use weir_store::suite::{Subject, keys};
use weir_store::{
    Address, ChunkHash, KeyLayout, Loaded, RespOptions, RespTier, StoreEndpoint, Stored, Tier,
    tier_suite,
};

use crate::resp_fixture::{BLOCK, get, later, layout, put, store_with, within};

struct Cluster {
    servers: Vec<StoreServer>,
}

fn port(server: &StoreServer) -> u16 {
    match server.endpoint() {
        StoreEndpoint::Tcp { port, .. } => *port,
        StoreEndpoint::Unix(_) => panic!("a cluster has ports"),
    }
}

fn client(server: &StoreServer) -> StoreClient {
    StoreClient::new(&server.address(), &TlsConfig::default()).unwrap()
}

fn call(server: &StoreServer, text: &str) -> Value {
    let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
    client(server).call(&words, later()).unwrap()
}

/// A free port whose port + 10000 is free too, for the cluster's own traffic. Both are below the
/// ephemeral range, and each test gets its own: no other process takes one before the server
/// starts.
fn free_pair() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = (std::process::id() % 120) as u16 * 100;
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let port = 10_000 + (own + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

impl Cluster {
    fn start(product: Product, test: &str) -> Option<Self> {
        let mut servers = Vec::new();
        for _ in 0..3 {
            let port = free_pair();
            let listen = weir_store::server::Listen::Port(port);
            let settings = StoreSettings { listen, cluster: true, ..StoreSettings::default() };
            servers.push(store_with(product, test, settings)?);
        }
        let cluster = Self { servers };
        let spans = ["0 5460", "5461 10922", "10923 16383"];
        for (server, span) in cluster.servers.iter().zip(spans) {
            call(server, &format!("CLUSTER ADDSLOTSRANGE {span}"));
        }
        for server in &cluster.servers[1..] {
            call(&cluster.servers[0], &format!("CLUSTER MEET 127.0.0.1 {}", port(server)));
        }
        cluster.settle();
        Some(cluster)
    }

    /// Waits until all servers know each other.
    fn settle(&self) {
        let began = Instant::now();
        let knows = |server: &StoreServer| {
            let info = call(server, "CLUSTER INFO");
            let text = info.text().unwrap().to_owned();
            text.contains("cluster_state:ok")
                && text.contains("cluster_slots_assigned:16384")
                && text.contains("cluster_known_nodes:3")
        };
        while !self.servers.iter().all(knows) {
            assert!(began.elapsed() < Duration::from_secs(30), "the cluster does not settle");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn address(&self) -> Address {
        let ports: Vec<String> =
            self.servers.iter().map(|s| format!("127.0.0.1:{}", port(s))).collect();
        format!("redis-cluster://{}", ports.join(",")).parse().unwrap()
    }

    fn tier(&self, namespace: &str) -> RespTier {
        RespTier::new(RespOptions::new(self.address(), layout(namespace, true), BLOCK)).unwrap()
    }

    fn id(&self, number: usize) -> String {
        call(&self.servers[number], "CLUSTER MYID").text().unwrap().to_owned()
    }

    /// Announces a slot's new server to all.
    fn give(&self, slot: u16, to: usize) {
        let id = self.id(to);
        // The new server first, then the others.
        let order = [to, (to + 1) % 3, (to + 2) % 3];
        for number in order {
            call(&self.servers[number], &format!("CLUSTER SETSLOT {slot} NODE {id}"));
        }
    }
}

fn subject(product: Product) -> Option<Subject> {
    let cluster = Cluster::start(product, "suite on a cluster")?;
    let (tier, neighbour) = (cluster.tier("one"), cluster.tier("two"));
    Some(Subject::new(tier).with_neighbour(neighbour).with_guard(cluster.servers))
}

// One product: a cluster takes two seconds to settle, and the tests below run on both.
tier_suite!(valkey, || subject(Product::Valkey));

fn slot_of(tier: &RespTier, key: &ChunkHash) -> u16 {
    let mut name = Vec::new();
    tier.options().layout.key(key, weir_store::resp::layout::KeyPart::Value, &mut name);
    slot(&name)
}

fn homes_move(product: Product) {
    let Some(cluster) = Cluster::start(product, "homes_move") else { return };
    let tier = cluster.tier("moving");
    let all = keys(0..60);
    assert_eq!(put(&tier, &all, later()), vec![Stored::Stored; 60]);
    // The servers compute the same slots.
    for key in &all[..5] {
        let mut name = Vec::new();
        tier.options().layout.key(key, weir_store::resp::layout::KeyPart::Value, &mut name);
        let name = String::from_utf8(name).unwrap();
        let said = call(&cluster.servers[0], &format!("CLUSTER KEYSLOT {name}"));
        assert_eq!(said.integer(), Some(i64::from(slot_of(&tier, key))));
    }
    for server in &cluster.servers {
        assert!(call(server, "DBSIZE").integer().unwrap() > 5, "every server has some");
    }
    assert_eq!(tier.usage(later()).unwrap().chunks, 60);
    // Slots move without their keys: MOVED, then misses; nothing else is lost.
    let moved: Vec<u16> = all[..10].iter().map(|key| slot_of(&tier, key)).collect();
    for (slot, key) in moved.iter().zip(&all) {
        tier.remove(&[*key], later()).unwrap();
        let home = usize::from(*slot > 5460) + usize::from(*slot > 10922);
        cluster.give(*slot, (home + 1) % 3);
    }
    let found = get(&tier, &all, later());
    for (key, found) in all.iter().zip(&found) {
        let away = moved.contains(&slot_of(&tier, key));
        assert!(*found == Loaded::Hit || (away && *found == Loaded::Miss), "{found:?}");
    }
    assert_eq!(put(&tier, &all[..10], later()), vec![Stored::Stored; 10]);
    assert_eq!(get(&tier, &all[..10], later()), vec![Loaded::Hit; 10]);
    assert_eq!(tier.counters().faults.iter().sum::<u64>(), 0, "{:?}", tier.counters());
}

/// While a slot is moving, its keys are looked up on both servers (ASK).
fn keys_on_their_way(product: Product) {
    let Some(cluster) = Cluster::start(product, "keys_on_their_way") else { return };
    let tier = cluster.tier("asked");
    let all = keys(0..40);
    assert_eq!(put(&tier, &all, later()), vec![Stored::Stored; 40]);
    let key = all.iter().find(|key| slot_of(&tier, key) <= 5460).unwrap();
    let slot = slot_of(&tier, key);
    call(&cluster.servers[1], &format!("CLUSTER SETSLOT {slot} IMPORTING {}", cluster.id(0)));
    call(&cluster.servers[0], &format!("CLUSTER SETSLOT {slot} MIGRATING {}", cluster.id(1)));
    assert_eq!(get(&tier, &all, later()), vec![Loaded::Hit; 40], "it is still at the old home");
    let mut name = Vec::new();
    tier.options().layout.key(key, weir_store::resp::layout::KeyPart::Value, &mut name);
    let name = String::from_utf8(name).unwrap();
    let to = port(&cluster.servers[1]);
    call(&cluster.servers[0], &format!("MIGRATE 127.0.0.1 {to} {name} 0 5000"));
    assert_eq!(get(&tier, &all, later()), vec![Loaded::Hit; 40], "the new home has it");
    // New keys of the slot go to the new server.
    assert_eq!(put(&tier, &[*key], later()), [Stored::Stored]);
    cluster.give(slot, 1);
    assert_eq!(get(&tier, &all, later()), vec![Loaded::Hit; 40]);
    assert_eq!(tier.counters().faults.iter().sum::<u64>(), 0, "{:?}", tier.counters());
}

/// Without one of three servers its keys fail and the others' do not. All work when it is back.
fn one_of_three_is_gone(product: Product) {
    let Some(mut cluster) = Cluster::start(product, "one_of_three_is_gone") else { return };
    // The remaining servers continue, as a cache should.
    for server in &cluster.servers {
        call(server, "CONFIG SET cluster-require-full-coverage no");
    }
    let tier = cluster.tier("gone");
    let all = keys(0..60);
    assert_eq!(put(&tier, &all, later()), vec![Stored::Stored; 60]);
    cluster.servers[2].kill();
    let found = get(&tier, &all, within(3000));
    for (key, found) in all.iter().zip(&found) {
        if slot_of(&tier, key) > 10922 {
            assert!(matches!(found, Loaded::Failed(_)), "{found:?}");
        } else {
            assert_eq!(*found, Loaded::Hit);
        }
    }
    cluster.servers[2].restart().unwrap();
    cluster.settle();
    let began = Instant::now();
    loop {
        let found = get(&tier, &all, within(1000));
        let known = |(key, found): (&ChunkHash, &Loaded)| {
            let wanted = if slot_of(&tier, key) > 10922 { Loaded::Miss } else { Loaded::Hit };
            *found == wanted
        };
        if all.iter().zip(&found).all(known) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{found:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

macro_rules! both {
    ($($test:ident),*) => {
        mod redis_faults { $(#[test] fn $test() { super::$test(super::Product::Redis); })* }
        mod valkey_faults { $(#[test] fn $test() { super::$test(super::Product::Valkey); })* }
    };
}

both!(homes_move, keys_on_their_way, one_of_three_is_gone);

/// A cluster under a single server's address: the error has the remedy.
#[test]
fn cluster_under_a_plain_address() {
    let Some(cluster) = Cluster::start(Product::Redis, "cluster_under_a_plain_address") else {
        return;
    };
    let options = RespOptions::new(
        cluster.servers[0].address(),
        KeyLayout::Weir { namespace: "x".to_owned(), checksums: true },
        BLOCK,
    );
    let tier = RespTier::new(options).unwrap();
    let outcomes = get(&tier, &keys(0..40), later());
    assert!(outcomes.iter().any(|o| matches!(o, Loaded::Failed(_))), "{outcomes:?}");
    assert!(!outcomes.contains(&Loaded::Corrupt));
    let error = tier.contains(&keys(0..40), later(), &mut [false; 40]).unwrap_err();
    assert!(error.to_string().contains("redis-cluster://"), "{error}");
}
