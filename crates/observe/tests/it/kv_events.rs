//! Engines' KV events over real sockets.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rmp::encode::{write_array_len, write_f64, write_nil, write_str, write_uint};
use weir_model::{ChoiceHits, Nanos, Tokens};
use weir_observe::{KvEventConfig, KvEventWatch, UtcClock};
use zeromq::{PubSocket, Socket as _, SocketSend as _, ZmqMessage};

const BLOCK: u64 = 2;

/// An engine's publisher.
struct Engine {
    socket: PubSocket,
    endpoint: String,
}

struct World {
    engines: Vec<Engine>,
    watch: KvEventWatch,
    /// Last: the sockets' tasks are its.
    runtime: tokio::runtime::Runtime,
}

impl World {
    /// Two engines that were heard once: they cleared their caches with batch 0.
    fn start() -> Self {
        Self::start_behind(str::to_owned)
    }

    /// `way` leads from an engine's endpoint to the one that is heard.
    fn start_behind(way: impl Fn(&str) -> String) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let engine = || async {
            let mut socket = PubSocket::new();
            let endpoint = socket.bind("tcp://127.0.0.1:0").await.unwrap().to_string();
            Engine { socket, endpoint }
        };
        let engines = vec![runtime.block_on(engine()), runtime.block_on(engine())];
        let endpoints = engines.iter().map(|engine| way(&engine.endpoint)).collect();
        let config =
            KvEventConfig { clock: UtcClock::anchored(), remember: Some(Nanos::from_secs(60)) };
        let watch = KvEventWatch::start(endpoints, config).unwrap();
        let mut world = Self { engines, watch, runtime };
        // A subscription takes a moment; the same batch may come several times.
        for engine in 0..2 {
            world.until(|world| {
                world.publish(engine, 0, &cleared());
                let heard = world.watch.counts();
                heard.batches - heard.doubled > engine as u64
            });
        }
        world
    }

    fn publish(&mut self, engine: usize, number: u64, payload: &[u8]) {
        let mut message = ZmqMessage::from("kv@here@model");
        message.push_back(number.to_be_bytes().to_vec().into());
        message.push_back(payload.to_vec().into());
        let socket = &mut self.engines[engine].socket;
        self.runtime.block_on(async {
            socket.send(message).await.unwrap();
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Publishes once, and waits until it was heard.
    fn tell(&mut self, engine: usize, number: u64, payload: &[u8]) {
        let before = self.watch.counts().batches;
        self.publish(engine, number, payload);
        self.until(|world| {
            world.runtime.block_on(tokio::task::yield_now());
            world.watch.counts().batches > before
        });
    }

    fn until(&mut self, mut is_so: impl FnMut(&mut Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < Duration::from_secs(20), "{:?}", self.watch.counts());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn hits(&self, ids: &[u32], chosen: usize) -> Option<ChoiceHits> {
        self.watch.hits(self.watch.clock().now(), ids, chosen)
    }
}

fn batch(events: u32, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_array_len(&mut bytes, 3).unwrap();
    write_f64(&mut bytes, 1.5).unwrap();
    write_array_len(&mut bytes, events).unwrap();
    write(&mut bytes);
    write_uint(&mut bytes, 0).unwrap();
    bytes
}

fn cleared() -> Vec<u8> {
    batch(1, |bytes| {
        write_array_len(bytes, 1).unwrap();
        write_str(bytes, "AllBlocksCleared").unwrap();
    })
}

/// Blocks at the start of a prompt.
fn stored(hashes: &[u64], token_ids: &[u32]) -> Vec<u8> {
    stored_in("GPU", hashes, None, token_ids)
}

fn stored_in(medium: &str, hashes: &[u64], parent: Option<u64>, token_ids: &[u32]) -> Vec<u8> {
    batch(1, |bytes| {
        write_array_len(bytes, 7).unwrap();
        write_str(bytes, "BlockStored").unwrap();
        write_array_len(bytes, hashes.len() as u32).unwrap();
        for hash in hashes {
            write_uint(bytes, *hash).unwrap();
        }
        match parent {
            Some(parent) => write_uint(bytes, parent).map(drop).unwrap(),
            None => write_nil(bytes).unwrap(),
        }
        write_array_len(bytes, token_ids.len() as u32).unwrap();
        for id in token_ids {
            write_uint(bytes, u64::from(*id)).unwrap();
        }
        write_uint(bytes, BLOCK).unwrap();
        write_nil(bytes).unwrap();
        write_str(bytes, medium).unwrap();
    })
}

fn removed_from(medium: &str, hashes: &[u64]) -> Vec<u8> {
    batch(1, |bytes| {
        write_array_len(bytes, 3).unwrap();
        write_str(bytes, "BlockRemoved").unwrap();
        write_array_len(bytes, hashes.len() as u32).unwrap();
        for hash in hashes {
            write_uint(bytes, *hash).unwrap();
        }
        write_str(bytes, medium).unwrap();
    })
}

#[test]
fn what_two_engines_hold_is_known_until_a_batch_is_lost() {
    let mut world = World::start();
    let prompt = [5, 6, 7, 8, 9];
    // The engines' hashes of the same blocks differ.
    let doubled = stored(&[11, 12], &prompt[..4]);
    world.tell(0, 1, &doubled);
    world.tell(1, 1, &stored(&[21], &prompt[..2]));
    let hits = |routed| ChoiceHits { routed: Tokens(routed), uniform: 3.0, best: Tokens(4) };
    assert_eq!(world.hits(&prompt, 0), Some(hits(4)));
    assert_eq!(world.hits(&prompt, 1), Some(hits(2)));
    assert_eq!(world.hits(&[6, 5, 7, 8, 9], 1), Some(ChoiceHits::default()));
    let before = world.watch.counts();
    world.tell(0, 1, &doubled);
    let after = world.watch.counts();
    assert_eq!((after.doubled, after.lost), (before.doubled + 1, 0));
    assert_eq!(after.of("gpu").stored, 3, "a doubled batch counts once");
    // Batches 2 and 3 are lost.
    world.tell(1, 4, &stored(&[22], &[1, 2]));
    assert_eq!(world.watch.counts().lost, 2);
    assert_eq!(world.hits(&prompt, 0), None);
    assert_eq!(world.watch.gaps().gaps, 1);
    world.tell(1, 5, &cleared());
    assert_eq!(world.hits(&prompt, 0), Some(ChoiceHits { uniform: 2.0, ..hits(4) }));
    // Another process with the same address begins anew, and is empty.
    world.tell(0, 0, &stored(&[31], &[1, 2]));
    assert_eq!(world.hits(&prompt, 0), Some(ChoiceHits::default()));
}

#[test]
fn a_block_is_held_while_gpu_memory_or_an_announced_tier_has_it() {
    let mut world = World::start();
    let prompt = [5, 6, 7, 8, 9, 10, 11];
    let found = |routed: u32| {
        let uniform = routed as f32 / 2.0;
        Some(ChoiceHits { routed: Tokens(routed), uniform, best: Tokens(routed) })
    };
    world.tell(0, 1, &stored(&[11, 12, 13], &prompt[..6]));
    // Without tokens, by the hash of a block in GPU memory; unknown hashes are nothing.
    world.tell(0, 2, &stored_in("CPU", &[12], None, &[]));
    world.tell(0, 3, &stored_in("CPU", &[99], None, &[]));
    world.tell(0, 4, &removed_from("GPU", &[13, 12]));
    assert_eq!(world.hits(&prompt, 0), found(4));
    // A chunk of two blocks that describes itself, on another tier.
    world.tell(0, 5, &stored_in("STORAGE", &[11, 12], None, &prompt[..4]));
    world.tell(0, 6, &removed_from("GPU", &[11]));
    world.tell(0, 7, &removed_from("CPU", &[12]));
    assert_eq!(world.hits(&prompt, 0), found(4));
    // What comes behind it, after a block that this tier lacks or has.
    world.tell(0, 8, &stored_in("CPU", &[13], Some(12), &prompt[4..6]));
    assert_eq!(world.hits(&prompt, 0), found(4));
    world.tell(0, 9, &stored_in("STORAGE", &[13], Some(12), &prompt[4..6]));
    assert_eq!(world.hits(&prompt, 0), found(6));
    world.tell(0, 10, &removed_from("STORAGE", &[12, 11]));
    assert_eq!(world.hits(&prompt, 0), found(0));
    world.tell(0, 11, &stored(&[11, 12], &prompt[..4]));
    assert_eq!(world.hits(&prompt, 0), found(6));
    world.tell(0, 12, &cleared());
    assert_eq!(world.hits(&prompt, 0), found(0));
    assert_eq!(world.watch.gaps().orphans, 0);
}

/// Passes connections on, and hands out the ends towards those who hear.
fn relay(endpoint: &str) -> (String, Receiver<TcpStream>) {
    let engine: SocketAddr = endpoint.trim_start_matches("tcp://").parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, hearing) = channel();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, engine) = (client.unwrap(), TcpStream::connect(engine).unwrap());
            let ends = [
                (client.try_clone().unwrap(), engine.try_clone().unwrap()),
                (engine, client.try_clone().unwrap()),
            ];
            for (mut from, mut to) in ends {
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
            if heard.send(client).is_err() {
                return;
            }
        }
    });
    (format!("tcp://{address}"), hearing)
}

/// A frame longer than any memory.
const BROKEN: [u8; 9] = [0x02, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

#[test]
fn a_broken_connection_is_made_anew() {
    let relays = std::cell::RefCell::new(Vec::new());
    let mut world = World::start_behind(|endpoint| {
        let (address, relayed) = relay(endpoint);
        relays.borrow_mut().push(relayed);
        address
    });
    relays.borrow()[0].recv().unwrap().write_all(&BROKEN).unwrap();
    // Without what `start` published several times: a late one must not pass for a new one.
    let heard = |world: &World| {
        let counts = world.watch.counts();
        counts.batches - counts.doubled
    };
    let before = heard(&world);
    // Batches that nobody heard are missing in the numbers.
    let mut number = 0;
    world.until(|world| {
        number += 1;
        world.publish(0, number, &stored(&[11], &[5, 6]));
        heard(world) > before
    });
    world.until(|world| {
        world.runtime.block_on(tokio::task::yield_now());
        heard(world) - before + world.watch.counts().lost == number
    });
    assert_eq!(world.watch.counts().unreadable, 0);
}
