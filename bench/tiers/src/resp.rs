//! RESP stores: Weir's tier, the bare loop and LMCache on one server, with one core each.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;
use weir_model::Product;
use weir_store::resp::StoreEndpoint;
use weir_store::resp::layout::KeyPart;
use weir_store::server::{StoreServer, StoreSettings, program};
use weir_store::{
    Block, ChunkHash, Get, KeyLayout, Loaded, Put, RespOptions, RespTier, Slab, Stored, Tier,
};

use crate::Setting;
use crate::allocations;
use crate::bare::Bare;
use crate::blocks::{check, fill, name, size, spoil, take};
use crate::contest::{Contestant, Seat, run};
use crate::figures::{Allocations, Case, Demand, Round, Sample};
use crate::lmcache::{Job, Lmcache};
use crate::machine::{Cores, Reading};

pub(crate) const PRODUCTS: [Product; 2] = [Product::Redis, Product::Valkey];
/// Bytes of a batch, and most blocks of it: a request of some thousand tokens.
const BATCH_BYTES: usize = 32 << 20;
const BATCH_BLOCKS_MAX: usize = 256;
/// Default of LMCache's adapter.
const DEFAULT_WORKERS: u32 = 8;
/// Per batch.
const PATIENCE: Duration = Duration::from_mins(1);
/// LMCache's name of the blocks of its benchmark.
const LMCACHE_MODEL: &str = "bench-model";

/// Weir over the limit, and over LMCache with one worker.
const LIMIT: Demand = Demand { rate: Some(0.9), processor: None, is_limit: true };
const PEER: Demand = Demand { rate: Some(2.0), processor: Some(0.5), is_limit: false };

pub(crate) fn case(setting: &Setting, product: Product, block_bytes: usize) -> Result<Case> {
    let name = format!("{}, {}", product.name(), size(block_bytes));
    if program(product).is_none() {
        let why = format!("not installed: {}", product.traits().install);
        let absent =
            |name: &str, demand| Seat::Empty { name: name.into(), demand, why: why.clone() };
        let seats = vec![absent("bare loop", LIMIT), absent("LMCache, 1 worker", PEER)];
        return run(name, Vec::new(), seats, setting.pace);
    }
    Cores::pin(setting.cores.server)?;
    let server = StoreServer::start(product, StoreSettings::default());
    Cores::pin(setting.cores.client)?;
    let server = server.context("the store")?;
    let StoreEndpoint::Tcp { port, .. } = *server.endpoint() else {
        return Err(anyhow!("the store does not listen on TCP"));
    };
    let batch = (BATCH_BYTES / block_bytes).clamp(1, BATCH_BLOCKS_MAX);
    let batches = (setting.store_bytes / block_bytes / batch).max(2);
    let shape = Shape { port, pid: server.pid(), block_bytes, batch, batches };
    let slab = Slab::new(2 * batch as u32, block_bytes)?;
    let mut buffers = Buffers { sources: take(&slab, batch)?, sinks: take(&slab, batch)? };
    fill(&mut buffers.sources);
    let zeros_s_per_gb = zeros(&mut buffers.sinks);
    let buffers = std::cell::RefCell::new(buffers);
    let mut seats = vec![
        Seat::Taken(Box::new(Weir::new(shape, &server, &buffers)?)),
        Seat::Taken(Box::new(Loop::new(shape, &buffers)?)),
    ];
    for workers in [1, DEFAULT_WORKERS] {
        let peer = |lmcache| Peer { lmcache, shape, workers, zeros_s_per_gb, buffers: &buffers };
        seats.push(match setting.lmcache.clone() {
            Ok(lmcache) => Seat::Taken(Box::new(peer(lmcache))),
            Err(why) => Seat::Empty { name: peer_name(workers), demand: peer_demand(workers), why },
        });
    }
    let version =
        Bare::connect(port, block_bytes)?.information(&format!("{}_version", product.name()))?;
    let notes = vec![format!(
        "{} {version} on core {}, clients on core {}; {batches} calls of {batch} blocks over the \
         same {}, one of them as a warm-up; Weir and the bare loop: one connection, one thread",
        product.name(),
        setting.cores.server,
        setting.cores.client,
        size(batches * batch * block_bytes),
    )];
    run(name, notes, seats, setting.pace)
}

/// Common to all contestants of a case.
#[derive(Debug, Clone, Copy)]
struct Shape {
    port: u16,
    /// Of the server.
    pid: u32,
    block_bytes: usize,
    /// Blocks of a call, and calls.
    batch: usize,
    batches: usize,
}

#[derive(Debug)]
struct Buffers {
    sources: Vec<Block>,
    sinks: Vec<Block>,
}

type Shared<'c> = &'c std::cell::RefCell<Buffers>;

impl Shape {
    /// Empties the store and fills it with as many bytes under the same keys: it then has its
    /// memory, and no contestant pays for page faults.
    fn prepare(&self, sources: &[Block], key: impl Fn(u64, &mut Vec<u8>)) -> Result<()> {
        let mut bare = Bare::connect(self.port, self.block_bytes)?;
        bare.control(&["FLUSHALL", "SYNC"])?;
        for batch in 0..self.batches {
            let keys = self.keys(batch, &key);
            bare.put(&keys, sources.iter().map(|block| &**block))?;
        }
        Ok(())
    }

    fn keys(&self, batch: usize, key: impl Fn(u64, &mut Vec<u8>)) -> Vec<Vec<u8>> {
        let numbers = batch * self.batch..(batch + 1) * self.batch;
        let one = |number| {
            let mut text = Vec::new();
            key(number as u64, &mut text);
            text
        };
        numbers.map(one).collect()
    }

    /// The first batch is a warm-up.
    fn measure(&self, mut call: impl FnMut(usize) -> Result<()>) -> Result<Sample> {
        call(0)?;
        let start = Reading::take(None, Some(self.pid));
        for batch in 1..self.batches {
            call(batch)?;
        }
        let end = Reading::take(None, Some(self.pid));
        let bytes = (self.batches - 1) * self.batch * self.block_bytes;
        Ok(start.sample(end, bytes as u64, None))
    }
}

/// In the layout of LMCache's server, which has no checksums.
struct Weir<'c> {
    shape: Shape,
    tier: RespTier,
    buffers: Shared<'c>,
    put_outcomes: Vec<Stored>,
    get_outcomes: Vec<Loaded>,
}

fn layout() -> KeyLayout {
    let model = LMCACHE_MODEL.to_owned();
    KeyLayout::LmcacheServer { model, kv_rank: 0x0100_0100, object_group: 0, salt: None }
}

impl<'c> Weir<'c> {
    fn new(shape: Shape, server: &StoreServer, buffers: Shared<'c>) -> Result<Self> {
        let mut options = RespOptions::new(server.address(), layout(), shape.block_bytes);
        options.connections = 1;
        let tier = RespTier::new(options)?;
        let put_outcomes = vec![Stored::Full; shape.batch];
        let get_outcomes = vec![Loaded::Miss; shape.batch];
        Ok(Self { shape, tier, buffers, put_outcomes, get_outcomes })
    }

    fn name_of(&self, batch: usize, index: usize) -> ChunkHash {
        name((batch * self.shape.batch + index) as u64)
    }

    fn put(&mut self, batch: usize, sources: &[Block]) -> Result<u64> {
        let named = sources.iter().enumerate();
        let puts: Vec<Put<'_>> =
            named.map(|(index, bytes)| Put { key: self.name_of(batch, index), bytes }).collect();
        let outcomes = &mut self.put_outcomes[..puts.len()];
        let before = allocations::so_far();
        self.tier.put(&puts, Instant::now() + PATIENCE, outcomes);
        let allocated = allocations::so_far() - before;
        let failed = outcomes.iter().find(|outcome| **outcome != Stored::Stored);
        ensure!(failed.is_none(), "a block was not stored: {failed:?}");
        Ok(allocated)
    }

    fn get(&mut self, batch: usize, sinks: &mut [Block]) -> Result<u64> {
        let named = sinks.iter_mut().enumerate();
        let mut gets: Vec<Get<'_>> =
            named.map(|(index, into)| Get { key: self.name_of(batch, index), into }).collect();
        let outcomes = &mut self.get_outcomes[..gets.len()];
        let before = allocations::so_far();
        self.tier.get(&mut gets, Instant::now() + PATIENCE, outcomes);
        let allocated = allocations::so_far() - before;
        let failed = outcomes.iter().find(|outcome| **outcome != Loaded::Hit);
        ensure!(failed.is_none(), "a block was not loaded: {failed:?}");
        Ok(allocated)
    }
}

impl Contestant for Weir<'_> {
    fn name(&self) -> String {
        "Weir".to_owned()
    }

    fn demand(&self) -> Option<Demand> {
        None
    }

    fn warm_up_rounds(&self) -> u32 {
        1
    }

    fn round(&mut self) -> Result<Round> {
        let buffers = &mut *self.buffers.borrow_mut();
        let layout = layout();
        self.shape.prepare(&buffers.sources, |number, out| {
            layout.key(&name(number), KeyPart::Value, out);
        })?;
        let shape = self.shape;
        let put = shape.measure(|batch| self.put(batch, &buffers.sources).map(drop))?;
        spoil(&mut buffers.sinks);
        let get = shape.measure(|batch| self.get(batch, &mut buffers.sinks).map(drop))?;
        check(&buffers.sinks, buffers.sources.iter(), "Weir")?;
        Ok([put, get])
    }

    fn allocations(&mut self) -> Result<Option<[Allocations; 2]>> {
        let buffers = &mut *self.buffers.borrow_mut();
        let half = self.shape.batch / 2;
        let puts = [self.put(0, &buffers.sources[..half])?, self.put(0, &buffers.sources)?];
        let gets = [self.get(0, &mut buffers.sinks[..half])?, self.get(0, &mut buffers.sinks)?];
        Ok(Some([puts, gets].map(|[few, many]| Allocations::of_calls(few, many, half))))
    }
}

/// The practical limit.
struct Loop<'c> {
    shape: Shape,
    bare: Bare,
    buffers: Shared<'c>,
}

impl<'c> Loop<'c> {
    fn new(shape: Shape, buffers: Shared<'c>) -> Result<Self> {
        Ok(Self { shape, bare: Bare::connect(shape.port, shape.block_bytes)?, buffers })
    }
}

impl Contestant for Loop<'_> {
    fn name(&self) -> String {
        "bare loop".to_owned()
    }

    fn demand(&self) -> Option<Demand> {
        Some(LIMIT)
    }

    fn warm_up_rounds(&self) -> u32 {
        1
    }

    fn round(&mut self) -> Result<Round> {
        let Buffers { sources, sinks } = &mut *self.buffers.borrow_mut();
        let layout = layout();
        let key = |number, out: &mut Vec<u8>| layout.key(&name(number), KeyPart::Value, out);
        self.shape.prepare(sources, key)?;
        // Made before: the loop does only input and output.
        let keys: Vec<_> =
            (0..self.shape.batches).map(|batch| self.shape.keys(batch, key)).collect();
        let put = self
            .shape
            .measure(|batch| self.bare.put(&keys[batch], sources.iter().map(|block| &**block)))?;
        spoil(sinks);
        let get = self.shape.measure(|batch| {
            self.bare.get(&keys[batch], sinks.iter_mut().map(|block| &mut **block))
        })?;
        check(sinks, sources.iter(), "the bare loop")?;
        Ok([put, get])
    }
}

/// LMCache's adapter `resp`.
struct Peer<'c> {
    lmcache: Lmcache,
    shape: Shape,
    workers: u32,
    zeros_s_per_gb: f64,
    buffers: Shared<'c>,
}

fn peer_name(workers: u32) -> String {
    match workers {
        1 => "LMCache, 1 worker".to_owned(),
        many => format!("LMCache, {many} workers"),
    }
}

/// With more workers it is compared for information.
fn peer_demand(workers: u32) -> Demand {
    if workers == 1 { PEER } else { Demand::default() }
}

/// Its adapter's key of a block of its benchmark.
fn lmcache_key(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{LMCACHE_MODEL}@{number:08x}@0@{number:032x}").as_bytes());
}

impl Contestant for Peer<'_> {
    fn name(&self) -> String {
        peer_name(self.workers)
    }

    fn demand(&self) -> Option<Demand> {
        Some(peer_demand(self.workers))
    }

    fn round(&mut self) -> Result<Round> {
        let Shape { port, pid, block_bytes, batch, batches } = self.shape;
        self.shape.prepare(&self.buffers.borrow().sources, lmcache_key)?;
        let stored = Bare::connect(port, block_bytes)?.control(&["DBSIZE"])?;
        let mut adapter = json!({"type": "resp", "host": "127.0.0.1", "port": port});
        // The default is left out.
        if self.workers != DEFAULT_WORKERS {
            adapter["num_workers"] = json!(self.workers);
        }
        let round = self.lmcache.run(&Job {
            adapter,
            block_bytes,
            keys: batch,
            in_flight: 1,
            rounds: batches - 1,
            align: 1,
            server: Some(pid),
            zeros_s_per_gb: self.zeros_s_per_gb,
        })?;
        // Other keys would cost the server fresh memory, unlike the other contestants.
        let after = Bare::connect(port, block_bytes)?.control(&["DBSIZE"])?;
        ensure!(stored == after, "LMCache's keys are not those expected: {after} and {stored}");
        Ok(round)
    }
}

/// CPU seconds of zeroing 10^9 bytes.
pub(crate) fn zeros(sinks: &mut [Block]) -> f64 {
    let mut times = [0.0; 9];
    let bytes: usize = sinks.iter().map(|sink| sink.len()).sum();
    for time in &mut times {
        let start = Reading::take(None, None);
        for sink in &mut *sinks {
            sink.fill(0);
        }
        std::hint::black_box(&mut *sinks);
        let sample = start.sample(Reading::take(None, None), bytes as u64, None);
        *time = sample.client_s_per_gb.unwrap_or(0.0);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::lmcache_key;

    #[test]
    fn keys_of_the_peer_are_those_it_was_seen_to_write() {
        let mut key = Vec::new();
        lmcache_key(0x89, &mut key);
        let seen = b"bench-model@00000089@0@00000000000000000000000000000089";
        assert_eq!(key, seen);
    }
}
