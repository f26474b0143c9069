//! Greetings, control commands, and connections shared by callers.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use weir_http::TlsConfig;
use weir_model::Bytes;
use weir_store::resp::layout::KeyPart;
use weir_store::resp::{Secret, StoreClient};
use weir_store::server::StoreSettings;
use weir_store::suite::{key, keys};
use weir_store::{Address, KeyLayout, Loaded, RespOptions, RespTier, Stored, Tier, TierFault};

use crate::resp_fixture::{
    BLOCK, Kind, Running, get, later, layout, on_every_store, options, put, running, running_with,
    tier, within,
};

on_every_store!(
    users_and_databases,
    older_servers,
    a_look_makes_recent,
    present_blocks_are_not_sent,
    large_batches_of_small_things,
    waiting_has_an_end,
);

fn client(server: &Running) -> StoreClient {
    StoreClient::new(&server.address(), &TlsConfig::default()).unwrap()
}

fn users_and_databases(kind: Kind) {
    if kind.is_kvrocks() {
        println!("SKIPPED users_and_databases: Kvrocks has namespaces instead of both");
        return;
    }
    let settings = StoreSettings {
        lines: vec!["user weir on >pass@word ~weir:* ~other:* +@all -@dangerous".to_owned()],
        ..StoreSettings::default()
    };
    let Some(server) = running_with(kind, "users_and_databases", settings) else { return };
    let with = |database: u32| Address {
        user: Some("weir".to_owned()),
        password: Some(Secret::new("pass@word")),
        database,
        ..server.address()
    };
    let (zero, three) = (tier(&with(0)), tier(&with(3)));
    assert_eq!(put(&three, &keys(0..4), later()), [Stored::Stored; 4]);
    assert_eq!(get(&three, &keys(0..4), later()), [Loaded::Hit; 4]);
    assert_eq!(get(&zero, &keys(0..4), later()), [Loaded::Miss; 4], "another database");
    // Connections have a name in CLIENT LIST.
    let list = client(&server).call(&[b"CLIENT", b"LIST"], later()).unwrap();
    assert!(list.text().unwrap().contains("name=weir"), "{list:?}");
    // INFO is in the category `dangerous`, which this user lacks: moving blocks does not need it.
    assert_eq!(three.usage(later()).unwrap_err().fault, TierFault::Refused);
    let foreign = RespOptions {
        layout: KeyLayout::LmcacheServer {
            model: "m".to_owned(),
            kv_rank: 0,
            object_group: 0,
            salt: None,
        },
        ..options(&with(3))
    };
    let foreign = RespTier::new(foreign).unwrap();
    let refused = Stored::Failed(TierFault::Refused);
    assert_eq!(put(&foreign, &keys(0..2), later()), [refused; 2], "keys that it may not touch");
    // A database that does not exist.
    let missing = tier(&with(4711));
    assert_eq!(get(&missing, &keys(0..1), later()), [Loaded::Failed(TierFault::Refused)]);
}

/// A server without HELLO, UNLINK and TOUCH, as old ones and some proxies are.
fn older_servers(kind: Kind) {
    let without = |command: &str| format!("rename-command {command} \"\"");
    let mut lacks = vec!["HELLO", "UNLINK", "CONFIG"];
    // Kvrocks lacks them, and refuses to rename unknown commands.
    if !kind.is_kvrocks() {
        lacks.push("TOUCH");
    }
    let settings = StoreSettings {
        password: Some(Secret::new("old")),
        lines: lacks.into_iter().map(without).collect(),
        ..StoreSettings::default()
    };
    let Some(server) = running_with(kind, "older_servers", settings) else { return };
    let tier = tier(&server.address());
    assert_eq!(put(&tier, &keys(0..8), later()), [Stored::Stored; 8]);
    let mut present = [false; 9];
    tier.contains(&keys(0..9), later(), &mut present).unwrap();
    assert_eq!(present.iter().filter(|present| **present).count(), 8);
    tier.remove(&keys(0..2), later()).unwrap();
    assert_eq!(tier.usage(later()).unwrap().chunks, 6);
    // A new tier that does not know yet what the server lacks.
    crate::resp_fixture::tier(&server.address()).clear(later()).unwrap();
    assert_eq!(get(&tier, &keys(0..8), later()), [Loaded::Miss; 8]);
    let wrong = Address { password: Some(Secret::new("new")), ..server.address() };
    let wrong = crate::resp_fixture::tier(&wrong);
    assert_eq!(get(&wrong, &keys(0..1), later()), [Loaded::Failed(TierFault::Refused)]);
}

fn a_look_makes_recent(kind: Kind) {
    if kind.is_kvrocks() {
        println!("SKIPPED a_look_makes_recent: Kvrocks has no order of use");
        return;
    }
    let Some(server) = running(kind, "a_look_makes_recent") else { return };
    let client = client(&server);
    let foreign =
        KeyLayout::LmcacheServer { model: "m".to_owned(), kv_rank: 0, object_group: 0, salt: None };
    for (layout, is_recent) in [(layout("t", true), true), (foreign, false)] {
        let options = RespOptions::new(server.address(), layout, BLOCK);
        let tier = RespTier::new(options).unwrap();
        assert_eq!(put(&tier, &[key(1)], later()), [Stored::Stored]);
        let mut name = Vec::new();
        tier.options().layout.key(&key(1), KeyPart::Value, &mut name);
        let idle = || {
            let said = client.call(&[b"OBJECT", b"IDLETIME", &name], later()).unwrap();
            said.integer().unwrap()
        };
        let began = Instant::now();
        while idle() < 1 {
            assert!(began.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(20));
        }
        tier.contains(&[key(1)], later(), &mut [false]).unwrap();
        assert_eq!(idle() == 0, is_recent, "{:?}", tier.options().layout);
    }
}

fn present_blocks_are_not_sent(kind: Kind) {
    let Some(server) = running(kind, "present_blocks_are_not_sent") else { return };
    let mut asking = options(&server.address());
    asking.skip_present = true;
    let tier = RespTier::new(asking).unwrap();
    assert_eq!(put(&tier, &keys(0..20), later()), [Stored::Stored; 20]);
    let received = || tier.report(later()).unwrap().servers[0].input_bytes;
    let before = received();
    let outcomes = put(&tier, &keys(0..21), later());
    assert_eq!(outcomes[..20], [Stored::Present; 20]);
    assert_eq!(outcomes[20], Stored::Stored);
    let moved = received() - before;
    assert!(moved < 3 * BLOCK as u64, "{moved} bytes for one block");
    assert_eq!((tier.counters().stored, tier.counters().present), (21, 20));
}

/// More commands and bytes than all buffers on the way hold.
fn large_batches_of_small_things(kind: Kind) {
    let Some(server) = running(kind, "large_batches_of_small_things") else { return };
    let options = RespOptions::new(server.address(), layout("small", true), 1);
    let tier = RespTier::new(options).unwrap();
    let all = keys(0..50_000);
    assert!(put(&tier, &all, later()).iter().all(|o| *o == Stored::Stored));
    let mut present = vec![false; all.len()];
    tier.contains(&all, later(), &mut present).unwrap();
    assert!(present.iter().all(|present| *present));
    assert!(get(&tier, &all, later()).iter().all(|o| *o == Loaded::Hit));
    assert_eq!(tier.usage(later()).unwrap().chunks, 50_000);
    tier.remove(&all[..20_000], later()).unwrap();
    assert_eq!(tier.usage(later()).unwrap().chunks, 30_000);
    tier.clear(later()).unwrap();
    assert_eq!(tier.usage(later()).unwrap().chunks, 0);
    let options = RespOptions::new(server.address(), layout("large", true), 8 << 20);
    let tier = RespTier::new(options).unwrap();
    assert_eq!(put(&tier, &keys(0..12), later()), [Stored::Stored; 12]);
    assert_eq!(get(&tier, &keys(0..12), later()), [Loaded::Hit; 12]);
    let used = tier.usage(later()).unwrap().used;
    assert!(used > Bytes(12 * (8 << 20)), "{used:?}");
}

/// Callers wait for a connection at most until their deadline, and their number is limited.
fn waiting_has_an_end(kind: Kind) {
    let Some(server) = running(kind, "waiting_has_an_end") else { return };
    let mut one = options(&server.address());
    one.connections = 1;
    let tier = RespTier::new(one).unwrap();
    assert_eq!(put(&tier, &keys(0..1), later()), [Stored::Stored]);
    server.pause();
    let outcomes: Vec<Loaded> = std::thread::scope(|scope| {
        let ask = || {
            let began = Instant::now();
            let outcome = get(&tier, &keys(0..1), within(1500))[0];
            assert!(began.elapsed() < Duration::from_secs(4));
            outcome
        };
        let callers: Vec<_> = (0..80).map(|_| scope.spawn(ask)).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    server.resume();
    let count = |fault| outcomes.iter().filter(|o| **o == Loaded::Failed(fault)).count();
    assert!(count(TierFault::Busy) >= 10, "{outcomes:?}");
    assert!(count(TierFault::Timeout) >= 1, "{outcomes:?}");
    let faults: usize = TierFault::ALL.iter().map(|fault| count(*fault)).sum();
    assert_eq!(faults, 80, "{outcomes:?}");
}

/// A cluster whose servers redirect to each other: the redirects end, with an error.
#[test]
fn sent_on_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let address: Address = format!("redis-cluster://127.0.0.1:{port}").parse().unwrap();
    let mut options = options(&address);
    options.connections = 1;
    let tier = RespTier::new(options).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let slots = format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n");
            let moved = format!("-MOVED 5 127.0.0.1:{port}\r\n");
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = vec![0; 1 << 16];
            while let Ok(length @ 1..) = stream.read(&mut heard) {
                let text = String::from_utf8_lossy(&heard[..length]).into_owned();
                let answer = if text.contains("SLOTS") {
                    slots.clone()
                } else if text.contains("GET\r\n") {
                    moved.repeat(text.matches("GET\r\n").count())
                } else {
                    "-ERR unknown command\r\n".to_owned()
                };
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        });
        let outcomes = get(&tier, &keys(0..3), within(5000));
        assert_eq!(outcomes, [Loaded::Failed(TierFault::Disconnected); 3]);
        drop(tier);
    });
}
