//! A RESP tier against the minimum for any client of the protocol: a loop on a bare socket. Redis
//! and Valkey on loopback, values of 2 MiB and 64 KiB, medians of five interleaved turns.
//!
//! `cargo bench -p weir-store --bench resp`

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use weir_model::Product;
use weir_store::server::{NullServer, StoreServer, StoreSettings, program};
use weir_store::{
    Address, ChunkHash, Get, KeyLayout, Loaded, Put, RespOptions, RespTier, Stored, Tier,
};

/// Turns, and bytes of each.
#[derive(Clone, Copy)]
struct Size {
    turns: usize,
    turn_bytes: usize,
}

/// `cargo bench` measures; `cargo test` only checks that this still runs.
fn size() -> Size {
    if std::env::args().any(|argument| argument == "--bench") {
        Size { turns: 5, turn_bytes: 256 << 20 }
    } else {
        Size { turns: 1, turn_bytes: 64 << 20 }
    }
}

fn main() {
    println!("store   value     who                put GB/s  CPU s/GB   get GB/s  CPU s/GB");
    for product in [Product::Redis, Product::Valkey] {
        if program(product).is_none() {
            println!("{product}: not installed");
            continue;
        }
        let server = StoreServer::start(product, StoreSettings::default()).unwrap();
        for value_bytes in [2 << 20, 64 << 10] {
            measure(product.name(), &server.address(), value_bytes);
        }
    }
    for value_bytes in [2 << 20, 64 << 10] {
        let null = NullServer::start(value_bytes, false).unwrap();
        measure("null", &null.address(), value_bytes);
    }
}

/// GB/s and CPU seconds per GB of one turn.
#[derive(Clone, Copy, Default)]
struct Figure {
    rate: f64,
    cpu: f64,
}

fn timed(bytes: usize, work: impl FnOnce()) -> Figure {
    let cpu = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let (began, used) = (Instant::now(), cpu());
    work();
    let gigabytes = bytes as f64 / 1e9;
    Figure { rate: gigabytes / began.elapsed().as_secs_f64(), cpu: (cpu() - used) / gigabytes }
}

fn median(mut figures: Vec<Figure>) -> Figure {
    let middle = figures.len() / 2;
    figures.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let rate = figures[middle].rate;
    figures.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
    Figure { rate, cpu: figures[middle].cpu }
}

trait Contestant {
    fn put(&mut self, blocks: &[Vec<u8>]);
    fn get(&mut self, blocks: &mut [Vec<u8>]);
}

fn measure(store: &str, address: &Address, value_bytes: usize) {
    let Size { turns, turn_bytes } = size();
    let count = 32.min(turn_bytes / value_bytes).max((64 << 20) / value_bytes);
    let rounds = turn_bytes / (count * value_bytes);
    let mut blocks: Vec<Vec<u8>> = (0..count).map(|i| vec![i as u8; value_bytes]).collect();
    let mut who: Vec<(&str, Box<dyn Contestant>)> = vec![
        ("bare socket", Box::new(Bare::new(address, 1))),
        ("bare, 4 at a time", Box::new(Bare::new(address, 4))),
        ("tier", Box::new(Ours::new(address, value_bytes, false))),
    ];
    if store != "null" {
        who.push(("tier, checksums", Box::new(Ours::new(address, value_bytes, true))));
        who.push(("tier, two threads", Box::new(Twice(Ours::new(address, value_bytes, false)))));
    }
    let mut puts = vec![Vec::new(); who.len()];
    let mut gets = vec![Vec::new(); who.len()];
    for turn in 0..=turns {
        for (index, (_, contestant)) in who.iter_mut().enumerate() {
            let put = timed(rounds * count * value_bytes, || {
                (0..rounds).for_each(|_| contestant.put(&blocks));
            });
            let get = timed(rounds * count * value_bytes, || {
                (0..rounds).for_each(|_| contestant.get(&mut blocks));
            });
            if turn > 0 {
                puts[index].push(put);
                gets[index].push(get);
            }
        }
    }
    let puts: Vec<Figure> = puts.into_iter().map(median).collect();
    let gets: Vec<Figure> = gets.into_iter().map(median).collect();
    let value = format!("{} KiB", value_bytes >> 10);
    for (index, (name, _)) in who.iter().enumerate() {
        let (put, get) = (puts[index], gets[index]);
        println!(
            "{store:7} {value:9} {name:18} {:8.2}  {:8.3}   {:8.2}  {:8.3}",
            put.rate, put.cpu, get.rate, get.cpu
        );
    }
    let ratio = |f: &[Figure]| f[2].rate / f[0].rate.max(f[1].rate);
    println!(
        "{store:7} {value:9} tier / better bare: {:7.2}             {:8.2}",
        ratio(&puts),
        ratio(&gets)
    );
}

struct Ours(RespTier);

impl Ours {
    fn new(address: &Address, block_bytes: usize, checksums: bool) -> Self {
        let layout =
            KeyLayout::Weir { namespace: format!("bench-{block_bytes}-{checksums}"), checksums };
        Self(RespTier::new(RespOptions::new(address.clone(), layout, block_bytes)).unwrap())
    }
}

fn hash(index: usize) -> ChunkHash {
    let mut hash = [7; 32];
    hash[..8].copy_from_slice(&(index as u64).to_be_bytes());
    ChunkHash(hash)
}

impl Ours {
    fn store(&self, blocks: &[Vec<u8>], from: usize) {
        let puts: Vec<Put<'_>> = blocks
            .iter()
            .enumerate()
            .map(|(index, bytes)| Put { key: hash(from + index), bytes })
            .collect();
        let mut outcomes = vec![Stored::Full; puts.len()];
        self.0.put(&puts, Instant::now() + Duration::from_mins(1), &mut outcomes);
        assert!(outcomes.iter().all(|o| *o == Stored::Stored), "{outcomes:?}");
    }

    fn load(&self, blocks: &mut [Vec<u8>], from: usize) {
        let mut gets: Vec<Get<'_>> = blocks
            .iter_mut()
            .enumerate()
            .map(|(index, into)| Get { key: hash(from + index), into })
            .collect();
        let mut outcomes = vec![Loaded::Miss; gets.len()];
        self.0.get(&mut gets, Instant::now() + Duration::from_mins(1), &mut outcomes);
        assert!(outcomes.iter().all(|o| *o == Loaded::Hit), "{outcomes:?}");
    }
}

impl Contestant for Ours {
    fn put(&mut self, blocks: &[Vec<u8>]) {
        self.store(blocks, 0);
    }

    fn get(&mut self, blocks: &mut [Vec<u8>]) {
        self.load(blocks, 0);
    }
}

/// Halves of a batch by two threads: the possible gain of spreading one batch over connections. CPU
/// time is not counted.
struct Twice(Ours);

impl Contestant for Twice {
    fn put(&mut self, blocks: &[Vec<u8>]) {
        let (front, back) = blocks.split_at(blocks.len() / 2);
        std::thread::scope(|scope| {
            scope.spawn(|| self.0.store(front, 0));
            self.0.store(back, front.len());
        });
    }

    fn get(&mut self, blocks: &mut [Vec<u8>]) {
        let half = blocks.len() / 2;
        let (front, back) = blocks.split_at_mut(half);
        std::thread::scope(|scope| {
            scope.spawn(|| self.0.load(front, 0));
            self.0.load(back, half);
        });
    }
}

/// The minimum: commands out, replies in, on a blocking socket, `depth` at a time.
struct Bare {
    stream: TcpStream,
    depth: usize,
}

impl Bare {
    fn new(address: &Address, depth: usize) -> Self {
        let stream = TcpStream::connect(address.endpoints[0].to_string()).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, depth }
    }
}

impl Contestant for Bare {
    fn put(&mut self, blocks: &[Vec<u8>]) {
        let mut replies = vec![0; self.depth * 5];
        for (round, batch) in blocks.chunks(self.depth).enumerate() {
            for (index, block) in batch.iter().enumerate() {
                let head = format!(
                    "*3\r\n$3\r\nSET\r\n$8\r\nbare{:04}\r\n${}\r\n",
                    round * self.depth + index,
                    block.len()
                );
                let mut slices =
                    [IoSlice::new(head.as_bytes()), IoSlice::new(block), IoSlice::new(b"\r\n")];
                let mut slices = &mut slices[..];
                while !slices.is_empty() {
                    let sent = self.stream.write_vectored(slices).unwrap();
                    IoSlice::advance_slices(&mut slices, sent);
                }
            }
            let replies = &mut replies[..batch.len() * 5];
            self.stream.read_exact(replies).unwrap();
            assert!(replies.chunks(5).all(|reply| reply == b"+OK\r\n"));
        }
    }

    fn get(&mut self, blocks: &mut [Vec<u8>]) {
        for (round, batch) in blocks.chunks_mut(self.depth).enumerate() {
            let mut commands = Vec::new();
            for index in 0..batch.len() {
                let number = round * self.depth + index;
                write!(commands, "*2\r\n$3\r\nGET\r\n$8\r\nbare{number:04}\r\n").unwrap();
            }
            self.stream.write_all(&commands).unwrap();
            for block in batch {
                let head = format!("${}\r\n", block.len());
                let mut read = vec![0; head.len()];
                self.stream.read_exact(&mut read).unwrap();
                assert_eq!(read, head.as_bytes());
                self.stream.read_exact(block).unwrap();
                let mut end = [0; 2];
                self.stream.read_exact(&mut end).unwrap();
                assert_eq!(end, *b"\r\n");
            }
        }
    }
}
