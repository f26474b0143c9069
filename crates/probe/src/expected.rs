//! Expected duration of a session: filling, querying and emptying a tier take time too.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use weir_store::{Get, Loaded};

use crate::config::{BlockSize, ProbeConfig, ProbePoint, Work};
use crate::error::ProbeError;
use crate::keys::KeySpace;
use crate::run::{Bench, FEWEST_LOOKUPS, LOOKUP_KEYS, LOOKUPS, NO_LIMIT};
use crate::server::ServerAt;
use crate::session::{differential_works, lookup_point};

/// Seconds per block, with the threads and batches of a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BlockTimes {
    store: f64,
    load: f64,
    /// Per key, with many threads.
    lookup: f64,
    /// Per key, with one thread.
    lookup_alone: f64,
    remove: f64,
    /// Preparing the buffers of one block for one measurement.
    prepare: f64,
    /// Overhead of a warm-up or a measurement.
    around: f64,
    cool: f64,
    cold_part: Option<u64>,
    /// Differential runs of a point, each half a measured time.
    layers: f64,
    /// Preparing them for each kind of work; None without differential runs.
    baselines: Option<f64>,
    working: u64,
    /// New blocks of a lap, all removed after it.
    lap: u64,
    threads: u32,
}

/// Times of the point with the most threads. `opening` is the time to open the tier, which is
/// repeated for each other block size; `baselines` that to prepare differential runs.
pub(crate) fn expected(
    bench: &mut Bench<'_>,
    block: BlockSize,
    (opening, baselines): (Duration, Option<Duration>),
) -> Result<Option<Duration>, ProbeError> {
    let points = bench.config().points().into_iter().filter(|point| point.block == block);
    let widest = points.max_by_key(|point| u64::from(point.threads) * u64::from(point.depth));
    let Some(point) = widest else { return Ok(None) };
    let mut pace = bench.pace(point)?;
    pace.baselines = baselines.map(|baselines| baselines.as_secs_f64());
    let others = bench.config().blocks.len().saturating_sub(1) as u32;
    Ok(Some(pace.session(bench.config(), block).saturating_add(opening * others)))
}

impl Bench<'_> {
    /// Times the operations with blocks of the working set, which are removed again.
    pub(crate) fn pace(&mut self, point: ProbePoint) -> Result<BlockTimes, ProbeError> {
        let working = self.working_blocks();
        let blocks = (u64::from(point.threads) * u64::from(point.depth)).clamp(1, working);
        let space = KeySpace::working(self.config().seed);
        let keys = space.keys(0..blocks);
        let per_block = |took: Duration| took.as_secs_f64() / blocks as f64;
        let fill = |bench: &mut Self| -> Result<f64, ProbeError> {
            let mut workers = bench.workers(&point, 0)?;
            let budget = AtomicU64::new(u64::MAX);
            let task = crate::worker::LapTask::Fill(space, blocks);
            Ok(per_block(bench.lap(&mut workers, point, task, NO_LIMIT, &budget)?))
        };
        // The first time opens connections and touches memory.
        fill(self)?;
        let began = Instant::now();
        self.remove(&keys)?;
        let remove = per_block(began.elapsed());
        let stored = fill(self)?;
        let lookup = fill(self)?;
        let some = &keys[..keys.len().min(LOOKUP_KEYS[1] as usize)];
        let mut present = vec![false; some.len()];
        let began_buffers = Instant::now();
        drop(self.workers(&point, 0)?);
        let prepare = began_buffers.elapsed().as_secs_f64()
            / (f64::from(point.threads) * f64::from(point.depth));
        let began = Instant::now();
        self.tier().contains(some, began + self.config().deadline, &mut present)?;
        let lookup_alone = began.elapsed().as_secs_f64() / some.len() as f64;
        let reads = ProbePoint { work: Work::Read, ..point };
        // The minimum of several: the first may be disturbed.
        let mut around = f64::INFINITY;
        for _ in 0..3 {
            around = around.min(self.around_phase(reads)?.as_secs_f64());
        }
        let (mut cool, mut load) = (0.0, 0.0);
        if self.is_cold() {
            let began = Instant::now();
            self.cool()?;
            cool = began.elapsed().as_secs_f64();
            load = self.load_pace(&keys, point);
        }
        self.remove(&keys)?;
        let layers = match self.server_at() {
            Some(ServerAt::Machine) => 3.5,
            None if self.origin().has_device() => 2.5,
            _ => 1.5,
        };
        Ok(BlockTimes {
            store: (stored - lookup).max(0.0),
            load,
            lookup,
            lookup_alone,
            remove,
            prepare,
            around,
            cool,
            cold_part: self.cold_part(&ProbePoint { work: Work::Read, ..point }),
            layers,
            baselines: None,
            working,
            lap: self.lap_blocks(&point),
            threads: point.threads,
        })
    }

    fn load_pace(&self, keys: &[weir_store::ChunkHash], point: ProbePoint) -> f64 {
        let mut blocks: Vec<_> = (0..point.depth).map_while(|_| self.slab().take()).collect();
        let mut gets: Vec<Get<'_>> =
            keys.iter().zip(&mut blocks).map(|(key, into)| Get { key: *key, into }).collect();
        let mut fetched = vec![Loaded::Miss; gets.len()];
        let began = Instant::now();
        self.tier().get(&mut gets, began + self.config().deadline, &mut fetched);
        began.elapsed().as_secs_f64() / gets.len().max(1) as f64 / f64::from(point.threads)
    }
}

impl BlockTimes {
    /// For blocks of another size.
    fn scaled(self, times: f64) -> Self {
        let blocks = |count: u64| ((count as f64 / times) as u64).max(1);
        let working = blocks(self.working);
        Self {
            store: self.store * times,
            load: self.load * times,
            lookup: self.lookup * times,
            lookup_alone: self.lookup_alone * times,
            remove: self.remove * times,
            prepare: self.prepare * times,
            cold_part: self.cold_part.map(blocks),
            lap: blocks(self.lap),
            working,
            ..self
        }
    }

    /// Seconds per key with `threads` threads: between those of one and of all.
    fn lookup_of(&self, threads: u32) -> f64 {
        let (all, these) = (f64::from(self.threads), f64::from(threads));
        if all <= 1.0 {
            return self.lookup_alone;
        }
        let share = (1.0 / these - 1.0 / all) / (1.0 - 1.0 / all);
        self.lookup + (self.lookup_alone - self.lookup) * share.clamp(0.0, 1.0)
    }

    /// One measurement of a point, with its warm-up, preparation and removals.
    fn run(&self, point: &ProbePoint, duration: f64, warmup: f64) -> f64 {
        let buffers = f64::from(point.threads) * f64::from(point.depth);
        // A started batch is finished.
        let batch = f64::from(point.depth) * self.store * f64::from(self.threads);
        let mut seconds = duration + warmup + 2.0 * (batch + self.around) + buffers * self.prepare;
        if point.work.reads() {
            seconds += self.working as f64 * self.lookup_of(point.threads) + buffers * self.prepare;
            if let Some(part) = self.cold_part {
                let lap = (part as f64 * self.load).max(1e-6);
                seconds += ((duration + warmup) / lap).ceil() * self.cool;
            }
        }
        if point.work.writes_new() {
            let lap = self.lap as f64 * self.store;
            let laps = |time: f64| if lap > 0.0 { (time / lap).ceil().max(1.0) } else { 1.0 };
            let laps = laps(duration) + laps(warmup);
            seconds += laps * self.lap as f64 * self.remove + (laps - 2.0) * self.around;
        }
        seconds
    }

    fn seconds(&self, config: &ProbeConfig, block: BlockSize) -> f64 {
        let repeats = f64::from(config.repeats);
        let limits = &config.limits;
        let (duration, warmup) = (limits.duration.as_secs_f64(), limits.warmup.as_secs_f64());
        let measured = limits.operations.map_or(duration, |blocks| {
            duration.min(blocks as f64 * self.store.max(self.load).max(1e-9))
        });
        let points = config.points().into_iter().filter(|point| point.block == block);
        let points: Vec<ProbePoint> = points.collect();
        let runs = points.iter().map(|point| self.run(point, measured, warmup));
        let mut seconds = repeats * runs.sum::<f64>();
        if let Some(baselines) = self.baselines {
            let half = duration / 2.0;
            for work in differential_works(config) {
                // The thread count is unknown yet: the middle point.
                let middle = points[points.len() / 2];
                let tier = self.run(&ProbePoint { work, ..middle }, half, warmup / 2.0);
                seconds += repeats * (tier + (self.layers - 1.0) * half + warmup / 2.0);
                seconds += baselines;
            }
        }
        if let Some(point) = lookup_point(config, block) {
            seconds += self.working as f64 * self.lookup_of(point.threads) + self.lookups(duration);
        }
        if let Some(first) = points.iter().find(|point| point.work.reads()) {
            // Fewer threads are assumed to slow it as they slow lookups.
            let slower = self.lookup_of(first.threads) / self.lookup.max(1e-9);
            let slower = slower.clamp(1.0, f64::from(self.threads) / f64::from(first.threads));
            seconds += self.working as f64 * (self.store * slower + self.remove);
        }
        seconds
    }

    fn lookups(&self, duration: f64) -> f64 {
        let asked = LOOKUP_KEYS.iter().filter(|keys| **keys <= self.working);
        let times = asked.map(|keys| {
            let one = *keys as f64 * self.lookup_alone;
            (LOOKUPS as f64 * one).min(duration).max(FEWEST_LOOKUPS as f64 * one)
        });
        times.sum()
    }

    /// The whole session, after the first tier was opened for blocks of `of` bytes.
    pub(crate) fn session(self, config: &ProbeConfig, of: BlockSize) -> Duration {
        let seconds: f64 = config
            .blocks
            .iter()
            .map(|block| {
                let times = block.bytes.0 as f64 / of.bytes.0 as f64;
                self.scaled(times).seconds(config, *block)
            })
            .sum();
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}
