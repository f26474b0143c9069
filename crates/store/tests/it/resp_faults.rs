//! Killed, paused, full, forbidden, absent or foreign servers: the results are misses and counted
//! faults, never a wrong byte, a hang or a panic.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use weir_model::{Bytes, Product};
use weir_store::resp::{Secret, StoreClient};
use weir_store::server::{Listen, StoreSettings};
use weir_store::suite::{content, key, keys};
use weir_store::{
    Address, ChunkHash, KeyLayout, Loaded, RespOptions, RespTier, Stored, Tier, TierFault,
};

use crate::resp_fixture::{
    BLOCK, Kind, get, later, layout, on_every_store, options, put, running, running_with, store,
    store_with, tier, within,
};

/// Allowed lateness after a deadline on a machine that runs other tests.
const LATE: Duration = Duration::from_secs(2);
/// Longest pause of the breaker, and a margin.
const RECOVERY: Duration = Duration::from_secs(10);

on_every_store!(
    killed_and_restarted,
    restarted_between_batches,
    stopped_for_five_seconds,
    late_answers_are_nobody_s,
    full_without_eviction,
    full_with_eviction,
    passwords,
    values_that_are_none,
    life_is_limited,
);

fn faults(tier: &dyn Tier) -> u64 {
    tier.counters().faults.iter().sum()
}

/// Retries until a batch works; returns its outcomes.
fn recovered(tier: &dyn Tier, keys: &[ChunkHash]) -> Vec<Loaded> {
    let began = Instant::now();
    loop {
        let outcomes = get(tier, keys, within(1000));
        if !outcomes.iter().any(|outcome| matches!(outcome, Loaded::Failed(_))) {
            return outcomes;
        }
        assert!(began.elapsed() < RECOVERY, "still {outcomes:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn killed_and_restarted(kind: Kind) {
    let Some(mut server) = running(kind, "killed_and_restarted") else { return };
    let tier = tier(&server.address());
    let all = keys(0..64);
    assert_eq!(put(&tier, &all, later()), vec![Stored::Stored; 64]);
    std::thread::scope(|scope| {
        let load = || {
            let began = Instant::now();
            let mut seen = (0, 0);
            while began.elapsed() < Duration::from_secs(2) {
                let before = Instant::now();
                for outcome in get(&tier, &all, within(500)) {
                    match outcome {
                        // `get` has checked every byte.
                        Loaded::Hit => seen.0 += 1,
                        Loaded::Miss => {}
                        Loaded::Failed(
                            TierFault::Timeout | TierFault::Disconnected | TierFault::Busy,
                        ) => {
                            seen.1 += 1;
                        }
                        other => panic!("{other:?}"),
                    }
                }
                for outcome in put(&tier, &all[..8], within(500)) {
                    assert!(matches!(outcome, Stored::Stored | Stored::Failed(_)), "{outcome:?}");
                }
                assert!(before.elapsed() < Duration::from_secs(1) + LATE);
            }
            seen
        };
        let loads = [scope.spawn(load), scope.spawn(load)];
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(300));
            server.restart();
        }
        for load in loads {
            let (hits, failures) = load.join().unwrap();
            assert!(hits > 0 && failures > 0, "{hits} hits, {failures} failures");
        }
    });
    assert!(faults(&tier) > 0, "{:?}", tier.counters());
    recovered(&tier, &all);
    assert_eq!(put(&tier, &all, later()), vec![Stored::Stored; 64]);
    assert_eq!(get(&tier, &all, later()), vec![Loaded::Hit; 64]);
}

fn restarted_between_batches(kind: Kind) {
    let Some(mut server) = running(kind, "restarted_between_batches") else { return };
    let tier = tier(&server.address());
    for _ in 0..3 {
        assert_eq!(put(&tier, &keys(0..4), later()), [Stored::Stored; 4]);
        assert_eq!(get(&tier, &keys(0..4), later()), [Loaded::Hit; 4]);
        server.restart();
    }
    assert!(!get(&tier, &keys(0..4), later()).iter().any(|o| matches!(o, Loaded::Failed(_))));
    assert_eq!(faults(&tier), 0, "{:?}", tier.counters());
}

fn stopped_for_five_seconds(kind: Kind) {
    let Some(server) = running(kind, "stopped_for_five_seconds") else { return };
    let tier = tier(&server.address());
    let all = keys(0..32);
    assert_eq!(put(&tier, &all, later()), vec![Stored::Stored; 32]);
    server.pause();
    let began = Instant::now();
    let (mut batches, mut at_once) = (0, 0);
    while began.elapsed() < Duration::from_secs(5) {
        let before = Instant::now();
        let outcomes = get(&tier, &all, within(250));
        assert!(before.elapsed() < Duration::from_millis(250) + LATE, "{:?}", before.elapsed());
        let failed = |o: &Loaded| {
            matches!(
                o,
                Loaded::Failed(TierFault::Timeout | TierFault::Disconnected | TierFault::Busy)
            )
        };
        assert!(outcomes.iter().all(failed), "{outcomes:?}");
        batches += 1;
        at_once += usize::from(before.elapsed() < Duration::from_millis(100));
        // The caller does other work in between.
        std::thread::sleep(Duration::from_millis(5));
    }
    server.resume();
    // Otherwise every batch paid its deadline, which gives twenty.
    assert!(at_once > 40, "{at_once} of {batches} batches returned at once");
    assert_eq!(recovered(&tier, &all), vec![Loaded::Hit; 32], "what was acknowledged is there");
    assert!(faults(&tier) >= batches * 32, "{:?}", tier.counters());
}

/// A late answer to a timed-out load must not be taken for the next load's. Without checksums, so
/// that nothing else would notice.
fn late_answers_are_nobody_s(kind: Kind) {
    let Some(server) = running(kind, "late_answers_are_nobody_s") else { return };
    let mut one = options(&server.address());
    (one.connections, one.layout) = (1, layout("late", false));
    let tier = RespTier::new(one).unwrap();
    assert_eq!(put(&tier, &keys(0..20), later()), [Stored::Stored; 20]);
    for number in 0..10 {
        server.pause();
        let timeout = Loaded::Failed(TierFault::Timeout);
        assert_eq!(get(&tier, &[key(number)], within(30)), [timeout]);
        let found = std::thread::scope(|scope| {
            // `get` checks the bytes of a hit.
            let next = scope.spawn(|| get(&tier, &keys(10..14), within(3000)));
            std::thread::sleep(Duration::from_millis(30));
            server.resume();
            next.join().unwrap()
        });
        assert!(found.iter().all(|o| matches!(o, Loaded::Hit | Loaded::Failed(_))), "{found:?}");
        assert_eq!(recovered(&tier, &keys(14..18)), [Loaded::Hit; 4]);
    }
}

fn large(address: &Address, namespace: &str) -> RespTier {
    RespTier::new(RespOptions::new(address.clone(), layout(namespace, true), 64 << 10)).unwrap()
}

fn limited(policy: &str) -> StoreSettings {
    // Eight MiB more than an empty server uses.
    let capacity = Some(Bytes(12 << 20));
    StoreSettings { capacity, policy: policy.to_owned(), ..StoreSettings::default() }
}

fn full_without_eviction(kind: Kind) {
    let settings = limited("noeviction");
    let Some(server) = running_with(kind, "full_without_eviction", settings) else { return };
    if kind == Kind::Real(Product::Kvrocks) {
        // Its limit is in whole GiB of disk.
        println!("SKIPPED full_without_eviction: Kvrocks has no limit small enough for a test");
        return;
    }
    let tier = large(&server.address(), "full");
    let all = keys(0..400);
    let outcomes: Vec<Stored> = all.chunks(16).flat_map(|k| put(&tier, k, later())).collect();
    let full = outcomes.iter().filter(|outcome| **outcome == Stored::Full).count() as u64;
    assert!(full > 0, "{outcomes:?}");
    assert!(outcomes.iter().all(|o| matches!(o, Stored::Stored | Stored::Full)), "{outcomes:?}");
    assert_eq!(tier.counters().full, full);
    // Nothing acknowledged is lost, and refused blocks are absent.
    let found: Vec<Loaded> = all.chunks(16).flat_map(|k| get(&tier, k, later())).collect();
    for (stored, found) in outcomes.iter().zip(found) {
        let wanted = if *stored == Stored::Stored { Loaded::Hit } else { Loaded::Miss };
        assert_eq!(found, wanted);
    }
    let usage = tier.usage(later()).unwrap();
    assert_eq!((usage.chunks, usage.evicted_chunks), (400 - full, 0));
    assert_eq!(usage.capacity, Some(Bytes(12 << 20)));
    let report = tier.report(later()).unwrap();
    assert!(report.warnings().iter().any(|text| text.contains("evicts nothing")), "{report:?}");
    if kind.is_kvrocks() {
        assert!(tier.problem().unwrap().contains("max-db-size"), "{:?}", tier.problem());
        // Space returns when RocksDB compacts.
        return;
    }
    // Freed space is used.
    tier.remove(&all[..100], later()).unwrap();
    let again = put(&tier, &all[..4], later());
    assert_eq!(again, [Stored::Stored; 4]);
}

fn full_with_eviction(kind: Kind) {
    let settings = limited("allkeys-lru");
    let Some(server) = running_with(kind, "full_with_eviction", settings) else { return };
    if kind.is_kvrocks() {
        println!("SKIPPED full_with_eviction: Kvrocks evicts nothing");
        return;
    }
    let tier = large(&server.address(), "lru");
    let all = keys(0..400);
    let outcomes: Vec<Stored> = all.chunks(16).flat_map(|k| put(&tier, k, later())).collect();
    assert!(outcomes.iter().all(|o| *o == Stored::Stored), "{outcomes:?}");
    let found: Vec<Loaded> = all.chunks(16).flat_map(|k| get(&tier, k, later())).collect();
    assert!(found.iter().all(|o| matches!(o, Loaded::Hit | Loaded::Miss)), "{found:?}");
    let hits = found.iter().filter(|o| **o == Loaded::Hit).count() as u64;
    let usage = tier.usage(later()).unwrap();
    // Loading evicts as well: output buffers count as used memory.
    assert!(usage.chunks <= hits, "{usage:?} after {hits} hits");
    assert_eq!(usage.evicted_chunks, 400 - usage.chunks, "its own counter agrees: {usage:?}");
    assert!(usage.chunks > 20 && hits < 380, "{usage:?}");
    // A later tier counts from its own start.
    let second = large(&server.address(), "lru");
    assert_eq!(second.usage(later()).unwrap().evicted_chunks, 0);
}

fn passwords(kind: Kind) {
    let settings =
        StoreSettings { password: Some(Secret::new("right:one@x")), ..StoreSettings::default() };
    let Some(server) = running_with(kind, "passwords", settings) else { return };
    let right = tier(&server.address());
    assert_eq!(put(&right, &keys(0..2), later()), [Stored::Stored; 2]);
    for password in [Some(Secret::new("hunter2")), None] {
        let address = Address { password, ..server.address() };
        let wrong = tier(&address);
        let refused = Loaded::Failed(TierFault::Refused);
        assert_eq!(get(&wrong, &keys(0..1), later()), [refused]);
        // The breaker's pause ends; the error stays.
        std::thread::sleep(Duration::from_millis(120));
        let error = wrong.contains(&keys(0..1), later(), &mut [false]).unwrap_err();
        assert_eq!(error.fault, TierFault::Refused, "{error}");
        let text = format!("{error} {error:?} {wrong:?}");
        assert!(!text.contains("hunter2") && !text.contains("right"), "{text}");
        assert!(error.problem.contains("password"), "{error}");
    }
}

/// Values of another length, type or content under the right key.
fn values_that_are_none(kind: Kind) {
    let Some(server) = running(kind, "values_that_are_none") else { return };
    let tier = tier(&server.address());
    let client = StoreClient::new(&server.address(), &tier.options().tls).unwrap();
    assert_eq!(put(&tier, &keys(0..8), later()), [Stored::Stored; 8]);
    let name = |number: u64| {
        let mut name = Vec::new();
        tier.options().layout.key(
            &key(number),
            weir_store::resp::layout::KeyPart::Value,
            &mut name,
        );
        name
    };
    let call = |arguments: &[&[u8]]| client.call(arguments, later()).unwrap();
    let mut whole = vec![0; BLOCK];
    content(key(1), &mut whole);
    call(&[b"SET", &name(1), &whole]);
    call(&[b"SET", &name(2), b""]);
    call(&[b"SETRANGE", &name(3), b"4000", b"x"]);
    call(&[b"APPEND", &name(4), b"x"]);
    call(&[b"DEL", &name(5)]);
    call(&[b"LPUSH", &name(5), b"x"]);
    // The right bytes of another chunk.
    let other = call(&[b"GET", &name(0)]);
    call(&[b"SET", &name(6), other.text().map_or_else(|| bytes(&other), str::as_bytes)]);
    let (hit, corrupt) = (Loaded::Hit, Loaded::Corrupt);
    let wanted = [hit, corrupt, corrupt, corrupt, corrupt, corrupt, corrupt, hit];
    assert_eq!(get(&tier, &keys(0..8), later()), wanted);
    assert_eq!(tier.counters().corrupt, 6);
    assert_eq!(faults(&tier), 0, "the connection went on: {:?}", tier.counters());
    // Storing again repairs strings.
    assert_eq!(put(&tier, &keys(0..5), later()), [Stored::Stored; 5]);
    assert_eq!(get(&tier, &keys(0..5), later()), [Loaded::Hit; 5]);
    // Without checksums only the length is checked.
    let bare =
        RespTier::new(RespOptions { layout: layout("test", false), ..options(&server.address()) });
    assert_eq!(get(&bare.unwrap(), &keys(0..1), later()), [Loaded::Corrupt]);
}

fn bytes(value: &weir_store::resp::value::Value) -> &[u8] {
    match value {
        weir_store::resp::value::Value::Text(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

fn life_is_limited(kind: Kind) {
    let Some(server) = running(kind, "life_is_limited") else { return };
    let mut short = options(&server.address());
    short.ttl = Some(Duration::from_secs(1));
    let short = RespTier::new(short).unwrap();
    assert_eq!(put(&short, &keys(0..2), later()), [Stored::Stored; 2]);
    assert_eq!(get(&short, &keys(0..2), later()), [Loaded::Hit; 2]);
    let began = Instant::now();
    while get(&short, &keys(0..2), later()) != [Loaded::Miss; 2] {
        assert!(began.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(began.elapsed() > Duration::from_millis(500));
}

#[test]
fn absent_and_coming_later() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address: Address = format!("redis://127.0.0.1:{port}").parse().unwrap();
    let absent = tier(&address);
    let began = Instant::now();
    for _ in 0..200 {
        let gone = Stored::Failed(TierFault::Disconnected);
        assert_eq!(put(&absent, &keys(0..2), later()), [gone; 2]);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(absent.counters().faults[TierFault::Disconnected as usize], 400);
    let error = absent.usage(later()).unwrap_err();
    assert!(error.to_string().contains("is a server running there?"), "{error}");
    let settings = StoreSettings { listen: Listen::Port(port), ..StoreSettings::default() };
    if let Some(_server) = store_with(Product::Redis, "absent_and_coming_later", settings) {
        recovered(&absent, &keys(0..2));
        assert_eq!(put(&absent, &keys(0..2), later()), [Stored::Stored; 2]);
    }
}

/// A server that accepts connections and stays silent: not every batch waits for it.
#[test]
fn silent_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: Address = format!("redis://{}", listener.local_addr().unwrap()).parse().unwrap();
    let mut options = options(&address);
    options.connect_timeout = Duration::from_millis(200);
    let silent = RespTier::new(options).unwrap();
    let began = Instant::now();
    let mut batches = 0;
    while began.elapsed() < Duration::from_secs(2) {
        let outcomes = get(&silent, &keys(0..2), within(1000));
        assert!(outcomes.iter().all(|o| matches!(o, Loaded::Failed(_))), "{outcomes:?}");
        batches += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(batches > 100, "{batches} batches");
}

/// A server that knows no command repeats the arguments it was sent.
#[test]
fn passwords_are_not_echoed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    let address: Address = format!("redis://:hunter2@{place}").parse().unwrap();
    std::thread::scope(|scope| {
        let tier = tier(&address);
        scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = [0; 4096];
            while let Ok(1..) = stream.read(&mut heard) {
                let answer = b"-ERR unknown command 'X', with args beginning with: 'hunter2'\r\n";
                if stream.write_all(answer).is_err() {
                    return;
                }
            }
        });
        assert_eq!(get(&tier, &keys(0..1), later()), [Loaded::Failed(TierFault::Refused)]);
        let problem = tier.problem().unwrap();
        assert!(problem.contains("'***'") && !problem.contains("hunter2"), "{problem}");
    });
}

/// The server's own words are reported for storing, lookup and removal.
#[test]
fn refusals_are_told_in_the_servers_words() {
    let Some(server) = store(Product::Redis, "refusals") else { return };
    let tier = tier(&server.address());
    let client = StoreClient::new(&server.address(), &tier.options().tls).unwrap();
    let call = |arguments: &[&[u8]]| client.call(arguments, later()).unwrap();
    let all = keys(0..4);
    assert_eq!(put(&tier, &all, later()), [Stored::Stored; 4]);

    // A user who may only read.
    let reader: &[&[u8]] = &[b"ACL", b"SETUSER", b"reader", b"on", b">pw", b"~*", b"+get"];
    call(reader);
    let (user, password) = (Some("reader".to_owned()), Some(Secret::new("pw")));
    let address = Address { user, password, ..server.address() };
    let poor = crate::resp_fixture::tier(&address);
    assert_eq!(get(&poor, &all, later()), [Loaded::Hit; 4]);
    assert_eq!(put(&poor, &keys(4..5), later()), [Stored::Failed(TierFault::Refused)]);
    let problem = poor.problem().unwrap();
    assert!(problem.contains("NOPERM") && problem.contains("'set'"), "{problem}");
    let error = poor.remove(&all, later()).unwrap_err();
    assert!(error.problem.contains("NOPERM") && error.problem.contains("ACL SETUSER"), "{error}");
    let error = poor.servers(later()).unwrap_err();
    assert!(error.is_not_allowed() && error.to_string().contains("'info'"), "{error}");

    // A replica of an absent primary.
    call(&[b"REPLICAOF", b"127.0.0.1", b"1"]);
    assert_eq!(put(&tier, &keys(4..6), later()), [Stored::Failed(TierFault::Refused); 2]);
    let problem = tier.problem().unwrap();
    assert!(problem.contains("READONLY") && problem.contains("its primary"), "{problem}");
    let error = tier.remove(&all, later()).unwrap_err();
    assert!(error.problem.contains("READONLY You can't write against"), "{error}");
    assert!(tier.clear(later()).unwrap_err().problem.contains("READONLY"));
    call(&[b"REPLICAOF", b"NO", b"ONE"]);

    // A value longer than the server accepts. It hangs up, so the words are sometimes lost with the
    // connection; a retry gets them.
    call(&[b"CONFIG", b"SET", b"proto-max-bulk-len", b"1mb"]);
    let long = RespOptions { block_bytes: 2 << 20, ..options(&server.address()) };
    let long = RespTier::new(long).unwrap();
    let said = later_than_a_pause(|| {
        assert!(matches!(put(&long, &keys(9..10), later())[..], [Stored::Failed(_)]));
        let problem = long.problem().unwrap();
        problem.contains("invalid bulk length").then_some(problem)
    });
    assert!(said.contains("smaller blocks"), "{said}");
}

/// Retries until there is a value, with the breaker's pause in between.
fn later_than_a_pause(mut what: impl FnMut() -> Option<String>) -> String {
    for _ in 0..20 {
        if let Some(text) = what() {
            return text;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("never");
}

#[test]
fn strange_servers() {
    let answers: [&[u8]; 8] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"+OK\r\n+OK\r\n+OK\r\n",
        b"*1000000\r\n",
        b"$536870912\r\nabc",
        b"-\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b">1\r\n+x\r\n>1\r\n+y\r\n",
        b"",
    ];
    for answer in answers {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address: Address =
            format!("redis://{}", listener.local_addr().unwrap()).parse().unwrap();
        std::thread::scope(|scope| {
            let mut options = options(&address);
            options.connect_timeout = Duration::from_millis(500);
            let strange = RespTier::new(options).unwrap();
            scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut heard = [0; 4096];
                // Greets like a RESP2 server, then sends `answer`.
                for greeting in [&b"-ERR unknown command\r\n"[..], b"+OK\r\n", answer] {
                    if !matches!(stream.read(&mut heard), Ok(1..)) {
                        return;
                    }
                    if stream.write_all(greeting).is_err() {
                        return;
                    }
                }
            });
            let began = Instant::now();
            let outcomes = get(&strange, &keys(0..3), within(700));
            assert!(began.elapsed() < Duration::from_millis(700) + LATE);
            assert!(
                outcomes.iter().all(|o| matches!(o, Loaded::Failed(_))),
                "{:?}: {outcomes:?}",
                String::from_utf8_lossy(answer)
            );
        });
    }
}

#[test]
fn options_that_make_no_sense() {
    let address: Address = "redis://127.0.0.1:1".parse().unwrap();
    let refuse = |edit: fn(&mut RespOptions)| {
        let mut options = options(&address);
        edit(&mut options);
        RespTier::new(options).unwrap_err().to_string()
    };
    assert!(refuse(|o| o.block_bytes = 0).contains("a block has"));
    assert!(refuse(|o| o.block_bytes = 1 << 30).contains("a block has"));
    assert!(refuse(|o| o.connections = 0).contains("connections"));
    assert!(refuse(|o| o.ttl = Some(Duration::ZERO)).contains("TTL"));
    assert!(refuse(|o| o.layout = layout("a b", true)).contains("namespace"));
    assert!(refuse(|o| o.layout = layout("{x}", true)).contains("namespace"));
    let salted = |salt: &str| KeyLayout::LmcacheServer {
        model: "m".to_owned(),
        kv_rank: 0,
        object_group: 0,
        salt: Some(salt.to_owned()),
    };
    let mut options = options(&address);
    options.layout = salted("a@b");
    assert!(RespTier::new(options).unwrap_err().to_string().contains("'@'"));
}
