//! Started servers: real ones leave nothing behind, and others measure the cost of a path.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use weir_http::TlsConfig;
use weir_model::{Bytes, Product};
use weir_store::resp::StoreClient;
use weir_store::resp::value::Value;
use weir_store::server::{
    Listen, NullServer, RawClient, RawServer, ServerError, StoreServer, StoreSettings, program,
};
use weir_store::{Address, Get, Loaded, Put, RespOptions, RespTier, StoreEndpoint, Stored, Tier};

use crate::resp_fixture::{later, layout, store, store_with};

/// Whether a process still runs; a zombie does not.
fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(10), "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn nothing_is_left_behind() {
    for product in [Product::Redis, Product::Valkey, Product::Kvrocks] {
        let Some(mut server) = store(product, "nothing_is_left_behind") else { continue };
        let (pid, folder) = (server.pid(), server.folder().to_owned());
        assert!(is_alive(pid) && folder.exists());
        assert!(!server.log().is_empty(), "its log is kept");
        server.kill();
        assert!(!is_alive(pid));
        server.restart().unwrap();
        let pid = server.pid();
        assert!(is_alive(pid));
        drop(server);
        assert!(!is_alive(pid) && !folder.exists());
    }
}

#[test]
#[ignore = "the child of it_dies_with_its_parent"]
fn child_that_starts_a_server() {
    let server = store(Product::Redis, "it_dies_with_its_parent").unwrap();
    println!("pid {}", server.pid());
    println!("folder {}", server.folder().display());
    // Until the parent kills this process.
    std::io::stdin().read_exact(&mut [0]).unwrap();
}

#[test]
fn it_dies_with_its_parent() {
    if program(Product::Redis).is_none() {
        assert!(store(Product::Redis, "it_dies_with_its_parent").is_none());
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["server::child_that_starts_a_server", "--exact", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut pid, mut folder) = (None, None);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // The test harness writes before it on the same line.
        if let Some((_, number)) = line.split_once("pid ") {
            pid = Some(number.parse::<u32>().unwrap());
        }
        if let Some((_, path)) = line.split_once("folder ") {
            folder = Some(path.to_owned());
            break;
        }
    }
    let pid = pid.unwrap();
    assert!(is_alive(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    until("the server dies with its parent", || !is_alive(pid));
    std::fs::remove_dir_all(folder.unwrap()).unwrap();
}

#[test]
fn what_goes_wrong_is_said() {
    if program(Product::Kvrocks).is_none() {
        let error = StoreServer::start(Product::Kvrocks, StoreSettings::default()).unwrap_err();
        assert!(matches!(error, ServerError::Absent { program: "kvrocks", .. }), "{error}");
    }
    let Some(server) = store(Product::Redis, "what_goes_wrong_is_said") else { return };
    let StoreEndpoint::Tcp { port, .. } = server.endpoint() else { panic!("it has a port") };
    let taken = StoreSettings { listen: Listen::Port(*port), ..StoreSettings::default() };
    let error = StoreServer::start(Product::Redis, taken).unwrap_err().to_string();
    // Either it ends, or another process has the port.
    assert!(error.contains("redis-server") && error.contains("in use"), "{error}");
    let strange =
        StoreSettings { lines: vec!["no-such-setting 7".to_owned()], ..StoreSettings::default() };
    let error = StoreServer::start(Product::Redis, strange).unwrap_err().to_string();
    assert!(error.contains("no-such-setting"), "the end of its log is shown: {error}");
}

fn tier(address: Address, block_bytes: usize) -> RespTier {
    RespTier::new(RespOptions::new(address, layout("path", false), block_bytes)).unwrap()
}

#[test]
fn a_null_store_answers_and_keeps_nothing() {
    for (unix, block) in [(false, 3 << 20), (true, 64 << 10), (false, 1)] {
        let null = NullServer::start(block, unix).unwrap();
        let tier = tier(null.address(), block);
        let mut bytes = vec![1; block];
        let keys = weir_store::suite::keys(0..40);
        let puts: Vec<Put<'_>> = keys.iter().map(|key| Put { key: *key, bytes: &bytes }).collect();
        let mut stored = [Stored::Full; 40];
        tier.put(&puts, later(), &mut stored);
        assert_eq!(stored, [Stored::Stored; 40]);
        let mut present = [false; 40];
        tier.contains(&keys, later(), &mut present).unwrap();
        assert_eq!(present, [true; 40]);
        for key in keys {
            let mut outcome = [Loaded::Miss];
            tier.get(&mut [Get { key, into: &mut bytes }], later(), &mut outcome);
            assert_eq!(outcome, [Loaded::Hit]);
            assert!(bytes.iter().all(|byte| *byte == 0x5a));
        }
        // It accepts a key and returns none: its emptiness is not reported.
        let error = tier.usage(later()).unwrap_err();
        assert!(error.problem.contains("SCAN does not find"), "{error}");
        tier.clear(later()).unwrap();
        drop(tier);
        until("its time is counted", || null.cpu_ns() > 0);
    }
}

#[test]
fn a_null_store_survives_garbage() {
    let null = NullServer::start(100, false).unwrap();
    let place = null.endpoint().to_string();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"*99999999999999\r\n",
        b"*1\r\n$99999999999\r\n",
        b"*2\r\n$3\r\nGET\r\n",
        b"\xff\xfe\x00",
        b"*1\r\n$0\r\n\r\n",
        b"*0\r\n",
    ] {
        let mut stream = TcpStream::connect(&place).unwrap();
        stream.write_all(garbage).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    let tier = tier(null.address(), 100);
    let mut outcome = [Loaded::Miss];
    let mut into = [0; 100];
    let key = weir_store::suite::key(1);
    tier.get(&mut [Get { key, into: &mut into }], later(), &mut outcome);
    assert_eq!(outcome, [Loaded::Hit]);
}

#[test]
fn raw_bytes_go_both_ways() {
    for unix in [false, true] {
        let raw = RawServer::start(unix).unwrap();
        let mut client = RawClient::connect(raw.endpoint(), Duration::from_secs(10)).unwrap();
        let blocks = vec![vec![3; 2 << 20], vec![4; 5000], Vec::new(), vec![5; 1]];
        let slices: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
        client.send(&slices, later()).unwrap();
        let mut blocks = blocks;
        let mut slices: Vec<&mut [u8]> = blocks.iter_mut().map(Vec::as_mut_slice).collect();
        client.receive(&mut slices, later()).unwrap();
        assert!(blocks.iter().flatten().all(|byte| *byte == 0x5a));
        let many = vec![&[0_u8; 100][..]; 2000];
        client.send(&many, later()).unwrap();
        assert!(client.send(&many, Instant::now()).is_err(), "a deadline that has passed");
        drop(client);
        until("its time is counted", || raw.cpu_ns() > 0);
    }
}

/// The recipes of the documentation: code blocks after their headings.
fn recipe(product: &str) -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/stores.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once(&format!("\n## {product}\n")).unwrap();
    let (_, block) = section.split_once("```conf\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    block.lines().map(str::to_owned).collect()
}

fn documented(product: Product) -> StoreSettings {
    // As on a machine with eight CPUs.
    let io_threads = (product != Product::Kvrocks).then_some(4);
    StoreSettings { capacity: Some(Bytes(64 << 30)), io_threads, ..StoreSettings::default() }
}

#[test]
fn recipes_are_those_of_the_documentation() {
    for (name, product) in
        [("Redis", Product::Redis), ("Valkey", Product::Valkey), ("Kvrocks", Product::Kvrocks)]
    {
        assert_eq!(documented(product).recipe(product), recipe(name), "{name}");
    }
}

/// Started servers use the documentation's lines, except for the thread count, which is smaller on
/// a small machine, and the capacity.
#[test]
fn what_is_started_is_the_recipe() {
    for (name, product) in
        [("Redis", Product::Redis), ("Valkey", Product::Valkey), ("Kvrocks", Product::Kvrocks)]
    {
        let few = |line: &String| line.starts_with("io-threads");
        let room = |line: &String| line.starts_with("max");
        let lines = StoreSettings::default().recipe(product);
        let wanted: Vec<String> = recipe(name).into_iter().filter(|line| !room(line)).collect();
        let started: Vec<String> = lines.iter().filter(|line| !few(line)).cloned().collect();
        assert_eq!(
            started,
            wanted.iter().filter(|line| !few(line)).cloned().collect::<Vec<_>>(),
            "{name}"
        );
        let Some(server) = store(product, "what_is_started_is_the_recipe") else { continue };
        let client = StoreClient::new(&server.address(), &TlsConfig::default()).unwrap();
        for line in lines {
            let (setting, wanted) = line.split_once(' ').unwrap();
            let reply = client.call(&[b"CONFIG", b"GET", setting.as_bytes()], later()).unwrap();
            let found = reply.entry(setting).and_then(Value::text);
            assert_eq!(found, Some(wanted.trim_matches('"')), "{name}: {line}");
        }
    }
}

/// A store accepts every line of its recipe.
#[test]
fn recipes_work() {
    for (name, product) in [("Redis", Product::Redis), ("Valkey", Product::Valkey)] {
        let Some(server) = store_with(product, "recipes_work", documented(product)) else {
            continue;
        };
        let client = StoreClient::new(&server.address(), &TlsConfig::default()).unwrap();
        for line in recipe(name) {
            let (setting, wanted) = line.split_once(' ').unwrap();
            let reply = client.call(&[b"CONFIG", b"GET", setting.as_bytes()], later()).unwrap();
            let found = reply.entry(setting).and_then(Value::text);
            assert_eq!(found, Some(wanted.trim_matches('"')), "{name}: {line}");
        }
        let tier = tier(server.address(), 2 << 20);
        let bytes = vec![7; 2 << 20];
        let key = weir_store::suite::key(7);
        let mut stored = [Stored::Full];
        tier.put(&[Put { key, bytes: &bytes }], later(), &mut stored);
        assert_eq!(stored, [Stored::Stored]);
        let report = tier.report(later()).unwrap();
        assert_eq!(report.servers[0].product, Some(product));
        assert_eq!(report.servers[0].persistence, Some(false));
        assert_eq!(report.servers[0].io_threads, Some(4));
        let warnings = report.warnings();
        // This machine is smaller than the recipe's.
        assert!(warnings.iter().all(|text| text.contains("its machine has")), "{warnings:?}");
    }
}

/// A store with a package's default settings gives warnings.
#[test]
fn settings_that_hurt_are_named() {
    for product in [Product::Redis, Product::Valkey] {
        let settings = StoreSettings {
            lines: vec!["save 3600 1".to_owned(), "appendonly yes".to_owned()],
            ..StoreSettings::default()
        };
        let Some(server) = store_with(product, "settings_that_hurt", settings) else { continue };
        let client = StoreClient::new(&server.address(), &TlsConfig::default()).unwrap();
        let report = client.report(None, later()).unwrap();
        let text = report.warnings().join("\n");
        assert!(text.contains("writes to disk") && text.contains("no maxmemory"), "{text}");
        assert_eq!(report.layout_chunks, None);
        assert!(!report.servers[0].version.is_empty());
        client.call(&[b"CONFIG", b"SET", b"maxmemory", b"100mb"], later()).unwrap();
        let policy: &[&[u8]] = &[b"CONFIG", b"SET", b"maxmemory-policy", b"volatile-lru"];
        client.call(policy, later()).unwrap();
        let text = client.report(None, later()).unwrap().warnings().join("\n");
        assert!(text.contains("without a TTL it refuses to store"), "{text}");
    }
}
