//! A proxy between tier and store that cuts, delays and damages the stream.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use weir_model::Product;
use weir_store::suite::keys;
use weir_store::{Address, Checked, Loaded, RespOptions, RespTier, StoreEndpoint, Stored, Tier};

use crate::resp_fixture::{get, later, layout, options, put, store, tier, within};

/// Damage to one direction of the stream, at a byte of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    None,
    Cut(u64),
    Turn(u64, u8),
    /// Nothing more arrives, but the connection stays open.
    Silence(u64),
    Late(Duration),
}

/// Forwards connections to a store, with separate harm per direction.
struct Proxy {
    address: Address,
    stops: Arc<AtomicBool>,
    moved: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Proxy {
    fn start(to: &StoreEndpoint, up: Harm, down: Harm) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("redis://{}", listener.local_addr().unwrap()).parse().unwrap();
        let (stops, moved) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (to, stop, count) = (to.to_string(), Arc::clone(&stops), Arc::clone(&moved));
        let thread = std::thread::spawn(move || {
            std::thread::scope(|scope| {
                while !stop.load(Ordering::Relaxed) {
                    let Ok((client, _)) = listener.accept() else {
                        std::thread::sleep(Duration::from_millis(1));
                        continue;
                    };
                    client.set_nonblocking(false).unwrap();
                    let Ok(server) = TcpStream::connect(&to) else { continue };
                    let ends = [client.try_clone().unwrap(), server.try_clone().unwrap()];
                    let [client2, server2] = ends;
                    let (stop, count) = (&stop, &count);
                    scope.spawn(move || forward(client, server, up, stop, count));
                    scope.spawn(move || forward(server2, client2, down, stop, count));
                }
            });
        });
        Self { address, stops, moved, thread: Some(thread) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

fn forward(
    mut from: TcpStream,
    mut to: TcpStream,
    harm: Harm,
    stop: &AtomicBool,
    count: &AtomicU64,
) {
    from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    to.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut at = 0;
    let mut buffer = vec![0; 3000];
    while !stop.load(Ordering::Relaxed) {
        let length = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock) => continue,
            Err(_) => break,
        };
        let mut piece = &mut buffer[..length];
        let within = |byte: u64| (at..at + length as u64).contains(&byte);
        match harm {
            Harm::Cut(byte) if within(byte) => {
                let _ = to.write_all(&piece[..(byte - at) as usize]);
                break;
            }
            Harm::Turn(byte, bit) if within(byte) => piece[(byte - at) as usize] ^= 1 << bit,
            Harm::Silence(byte) if within(byte) => piece = &mut piece[..(byte - at) as usize],
            Harm::Silence(byte) if at > byte => piece = &mut [],
            Harm::Late(pause) => std::thread::sleep(pause),
            _ => {}
        }
        at += length as u64;
        count.fetch_add(length as u64, Ordering::Relaxed);
        if to.write_all(piece).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Pseudorandom, the same on every run.
fn dice(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 31)
}

/// Loads through harm: every hit has the right bytes, nothing hangs, and a healthy path afterwards
/// finds everything acknowledged.
fn loads_through(product: Product, harms: impl Iterator<Item = Harm>) {
    let Some(server) = store(product, "loads_through_a_proxy") else { return };
    let all = keys(0..12);
    let direct = tier(&server.address());
    assert_eq!(put(&direct, &all, later()), [Stored::Stored; 12]);
    let mut failures = 0;
    for harm in harms {
        let proxy = Proxy::start(server.endpoint(), Harm::None, harm);
        let harmed = tier(&proxy.address);
        let began = Instant::now();
        // `get` checks every byte of a hit.
        let outcomes = get(&harmed, &all, within(400));
        assert!(began.elapsed() < Duration::from_secs(3), "{harm:?}");
        for outcome in &outcomes {
            let fits =
                matches!(outcome, Loaded::Hit | Loaded::Miss | Loaded::Corrupt | Loaded::Failed(_));
            assert!(fits, "{harm:?}: {outcome:?}");
        }
        failures += outcomes.iter().filter(|o| **o != Loaded::Hit).count();
    }
    assert!(failures > 0, "the harm was felt");
    assert_eq!(get(&direct, &all, later()), [Loaded::Hit; 12], "{product}");
}

/// Bytes of the whole answer to twelve loads, with the greeting.
const ANSWER: u64 = 12 * 5026 + 300;

fn places(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|number| dice(number) % ANSWER)
}

#[test]
fn cut_while_loading() {
    for product in [Product::Redis, Product::Valkey] {
        loads_through(product, places(12).map(Harm::Cut));
    }
}

#[test]
fn damaged_while_loading() {
    let turns = |from: u64| places(24).map(move |at| Harm::Turn(at, (dice(at + from) % 8) as u8));
    loads_through(Product::Redis, turns(0));
    // The greeting, and the heads of the first answers.
    let heads = (0..60).map(|at| Harm::Turn(at * 5, (dice(at) % 8) as u8));
    loads_through(Product::Valkey, heads);
}

#[test]
fn silent_while_loading() {
    loads_through(Product::Redis, places(5).map(Harm::Silence));
}

#[test]
fn late_is_only_late() {
    let Some(server) = store(Product::Redis, "late_is_only_late") else { return };
    let proxy = Proxy::start(server.endpoint(), Harm::None, Harm::Late(Duration::from_millis(2)));
    let slow = tier(&proxy.address);
    let all = keys(0..12);
    assert_eq!(put(&slow, &all, later()), [Stored::Stored; 12]);
    assert_eq!(get(&slow, &all, later()), [Loaded::Hit; 12]);
    assert!(proxy.moved.load(Ordering::Relaxed) > 2 * 12 * 5000);
    // With too little time, blocks that arrived in time are hits and the others faults.
    for milliseconds in [1, 5, 15, 30] {
        let outcomes = get(&slow, &all, within(milliseconds));
        for outcome in outcomes {
            assert!(matches!(outcome, Loaded::Hit | Loaded::Failed(_)), "{outcome:?}");
        }
    }
    assert_eq!(get(&slow, &all, later()), [Loaded::Hit; 12], "nobody got another's answer");
}

/// Damage on the way to the store is found when the block is loaded.
#[test]
fn damaged_while_storing() {
    let Some(server) = store(Product::Redis, "damaged_while_storing") else { return };
    let direct = tier(&server.address());
    let all = keys(0..12);
    let mut wrong = 0;
    for number in 0..24 {
        direct.clear(later()).unwrap();
        let harm = Harm::Turn(dice(number) % (12 * 5150), (dice(number + 99) % 8) as u8);
        let proxy = Proxy::start(server.endpoint(), harm, Harm::None);
        let harmed = tier(&proxy.address);
        put(&harmed, &all, within(400));
        let outcomes = get(&direct, &all, later());
        for outcome in &outcomes {
            let fits = matches!(outcome, Loaded::Hit | Loaded::Miss | Loaded::Corrupt);
            assert!(fits, "{harm:?}: {outcome:?}");
        }
        wrong += outcomes.iter().filter(|o| **o == Loaded::Corrupt).count();
    }
    assert!(wrong >= 12, "{wrong} damaged blocks were found");
}

/// A path cut while storing loses only unacknowledged blocks.
#[test]
fn cut_while_storing() {
    let Some(server) = store(Product::Redis, "cut_while_storing") else { return };
    let direct = tier(&server.address());
    let all = keys(0..12);
    for number in 0..12 {
        direct.clear(later()).unwrap();
        let (up, down) = if number % 2 == 0 {
            (Harm::Cut(dice(number) % (12 * 5150)), Harm::None)
        } else {
            (Harm::None, Harm::Cut(150 + dice(number) % 200))
        };
        let proxy = Proxy::start(server.endpoint(), up, down);
        let stored = put(&tier(&proxy.address), &all, within(1000));
        let found = get(&direct, &all, later());
        for (stored, found) in stored.iter().zip(found) {
            let lost = *stored == Stored::Stored && found != Loaded::Hit;
            assert!(!lost, "{up:?} {down:?}: {stored:?} and then {found:?}");
        }
    }
}

/// A connection that ends in the second batch, before any answer, is replaced.
#[test]
fn cut_under_the_second_batch() {
    let Some(server) = store(Product::Redis, "cut_under_the_second_batch") else { return };
    let direct = tier(&server.address());
    assert_eq!(put(&direct, &keys(0..2), later()), [Stored::Stored; 2]);
    let mut seconds = 0;
    for byte in (60..400).step_by(9) {
        let proxy = Proxy::start(server.endpoint(), Harm::Cut(byte), Harm::None);
        let tier = tier(&proxy.address);
        if get(&tier, &keys(0..1), within(2000)) == [Loaded::Hit] {
            // The next connection has the same byte limit.
            assert_eq!(get(&tier, &keys(1..2), within(2000)), [Loaded::Hit], "cut at {byte}");
            assert_eq!(tier.counters().faults, [0; 6]);
            seconds += 1;
        }
    }
    assert!(seconds > 10, "{seconds}");
}

/// Without checksums in values, remembered ones find the damage.
#[test]
fn damage_is_found_by_remembered_checksums() {
    let Some(server) = store(Product::Redis, "damage_is_found_by_remembered_checksums") else {
        return;
    };
    let all = keys(0..12);
    let mut found = 0;
    for number in 0..12 {
        // After the greeting and the first INFO there is little but values.
        let harm = Harm::Turn(8000 + dice(number) % 50_000, (dice(number + 7) % 8) as u8);
        let proxy = Proxy::start(server.endpoint(), Harm::None, harm);
        let bare = RespOptions { layout: layout("bare", false), ..options(&proxy.address) };
        let checked = Checked::new(RespTier::new(bare).unwrap(), 100);
        assert_eq!(put(&checked, &all, later()), [Stored::Stored; 12]);
        // `get` checks every byte of a hit.
        let outcomes = get(&checked, &all, within(400));
        found += outcomes.iter().filter(|o| **o == Loaded::Corrupt).count();
    }
    assert!(found >= 8, "{found} damaged blocks were found");
}
