//! One point, once: fill, warm up, measure lap by lap, clean up.
//!
//! New blocks are stored in *laps*: after the last key of a lap the threads stop, the blocks are
//! removed outside the measured time, and the next lap begins with new keys. So a tier of any size
//! can be written for any time while holding at most one lap.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use weir_model::{Bytes, Nanos};
use weir_observe::{HostProbe, HostUse, UtcClock};
use weir_service::{allowed_cores, pin_thread};
use weir_store::resp::RocksDbFigures;
use weir_store::{Slab, Tier, TierError};

use crate::config::{BlockSize, PointLimits, ProbeConfig, ProbePoint, WorkingSet};
use crate::content::Pattern;
use crate::cpu;
use crate::engine_work::EngineWork;
use crate::error::ProbeError;
use crate::figures::Run;
use crate::fit::LookupTime;
use crate::keys::KeySpace;
use crate::origin::{BlockReader, Cold, TierOrigin};
use crate::server::{Growth, ServerAt, ServerWords, TierServer, Traffic};
use crate::statistics::Repeated;
use crate::tally::{Outcomes, WorkerTally};
use crate::trace::Trace;
use crate::volume::{lap_blocks, stored};
use crate::worker::{Lap, LapTask, ProbeWorker, WorkerPlace};

const REMOVED_AT_ONCE: usize = 256;
/// Key counts of timed lookups, and their fewest and most repeats; the measured time of a point
/// decides between them.
pub(crate) const LOOKUP_KEYS: [u64; 3] = [1, 16, 64];
pub(crate) const LOOKUPS: usize = 101;
pub(crate) const FEWEST_LOOKUPS: usize = 5;
/// Loads between two cache drops: so small a part of the working set that repeated keys are rare.
pub(crate) const COOL_PART: u64 = 8;
/// A fill ends with its blocks.
pub(crate) const NO_LIMIT: Duration = Duration::from_hours(24);

pub struct Bench<'a> {
    config: &'a ProbeConfig,
    tier: Arc<dyn Tier>,
    block: BlockSize,
    pattern: Pattern,
    slab: Arc<Slab>,
    working: u64,
    trace: Option<&'a Trace>,
    server: Option<TierServer>,
    origin: TierOrigin,
    cold: Option<Cold>,
    stop: &'a (dyn Fn() -> bool + Sync),
    /// False for a null server.
    keeps: bool,
    limits: PointLimits,
    generation: u64,
}

impl std::fmt::Debug for Bench<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench").field("tier", &self.tier).finish_non_exhaustive()
    }
}

struct Phase {
    tallies: Vec<WorkerTally>,
    wall: Duration,
    client: Nanos,
    server: Option<Nanos>,
    /// CPU seconds of other processes, in laps.
    foreign: Option<f64>,
    device: Option<u64>,
    grown: Growth,
    laps: u32,
}

impl<'a> Bench<'a> {
    /// Prepares all points with blocks of this size; the slab comes from [`buffers`].
    pub fn new(
        config: &'a ProbeConfig,
        tier: Arc<dyn Tier>,
        block: BlockSize,
        slab: Arc<Slab>,
        stop: &'a (dyn Fn() -> bool + Sync),
    ) -> Result<Self, ProbeError> {
        let bytes = block.bytes.0 as usize;
        // A store counts its keys to answer, so it is queried only if necessary.
        let capacity = match config.working_set {
            WorkingSet::Capacities(_) => tier.usage(Instant::now() + config.deadline)?.capacity,
            _ => None,
        };
        let working = config.working_set.blocks(block.bytes, capacity)?;
        Ok(Self {
            config,
            tier,
            block,
            pattern: Pattern::new(config.seed, bytes),
            slab,
            working,
            trace: None,
            server: None,
            origin: TierOrigin::UNKNOWN,
            cold: None,
            stop,
            keeps: true,
            limits: config.limits,
            generation: 0,
        })
    }

    #[must_use]
    pub const fn with_limits(mut self, limits: PointLimits) -> Self {
        self.limits = limits;
        self
    }

    /// For a tier that keeps nothing and answers every load: no fill, no verification, no removal.
    #[must_use]
    pub const fn without_keyspace(mut self) -> Self {
        self.keeps = false;
        self
    }

    pub const fn set_limits(&mut self, limits: PointLimits) {
        self.limits = limits;
    }

    /// Replays a trace instead of drawing keys.
    #[must_use]
    pub const fn with_trace(mut self, trace: Option<&'a Trace>) -> Self {
        self.trace = trace;
        self
    }

    #[must_use]
    pub fn with_server(mut self, server: Option<TierServer>) -> Self {
        self.server = server;
        self
    }

    /// Counts device reads, and keeps the tier cold if possible.
    #[must_use]
    pub fn with_origin(mut self, origin: TierOrigin, cold: Option<Cold>) -> Self {
        (self.origin, self.cold) = (origin, cold);
        self
    }

    pub const fn origin(&self) -> TierOrigin {
        self.origin
    }

    pub fn tier(&self) -> &dyn Tier {
        &*self.tier
    }

    pub const fn working_blocks(&self) -> u64 {
        self.working
    }

    /// Measures a point once. None if it was stopped before any measurement.
    pub fn measure(&mut self, point: ProbePoint, repeat: u32) -> Result<Option<Run>, ProbeError> {
        match self.trace {
            Some(trace) => self.remove(trace.distinct())?,
            None if self.keeps && point.work.reads() => self.fill(point)?,
            None => {}
        }
        let mut workers = self.workers(&point, repeat)?;
        // A trace is replayed from its beginning: its first requests are its warm-up.
        if self.trace.is_none() && !self.limits.warmup.is_zero() {
            let budget = AtomicU64::new(u64::MAX);
            self.phase(&mut workers, point, self.limits.warmup, &budget)?;
        }
        for worker in &mut workers {
            worker.tally = WorkerTally::default();
        }
        let budget = AtomicU64::new(self.limits.operations.unwrap_or(u64::MAX));
        let phase = self.phase(&mut workers, point, self.limits.duration, &budget)?;
        let moved: u64 =
            phase.tallies.iter().map(|tally| tally.reads.moved + tally.writes.moved).sum();
        let asked = phase.tallies.iter().any(|tally| !tally.timed().is_zero());
        if !asked || ((self.stop)() && moved == 0) {
            return Ok(None);
        }
        Ok(Some(Run::of(point.block.bytes, &phase.tallies, phase.costs())))
    }

    pub fn tidy(&mut self) -> Result<(), ProbeError> {
        if let Some(trace) = self.trace {
            return self.remove(trace.distinct());
        }
        let keys = KeySpace::working(self.config.seed);
        let mut from = 0;
        while from < self.working {
            let to = (from + REMOVED_AT_ONCE as u64).min(self.working);
            self.remove(&keys.keys(from..to))?;
            from = to;
        }
        Ok(())
    }

    pub(crate) fn remove(&self, keys: &[weir_store::ChunkHash]) -> Result<(), ProbeError> {
        if !self.keeps {
            return Ok(());
        }
        for part in keys.chunks(REMOVED_AT_ONCE) {
            self.tier.remove(part, Instant::now() + self.config.deadline)?;
        }
        Ok(())
    }

    pub(crate) fn workers(
        &self,
        point: &ProbePoint,
        repeat: u32,
    ) -> Result<Vec<ProbeWorker>, ProbeError> {
        let worker = |thread| {
            let place = WorkerPlace { blocks: self.working, thread, repeat };
            ProbeWorker::new(self.config, point, &self.pattern, &self.slab, place)
        };
        let workers: Option<Vec<ProbeWorker>> = (0..point.threads).map(worker).collect();
        workers.ok_or_else(|| {
            let problem = format!("{} threads with {} blocks each", point.threads, point.depth);
            ProbeError::value("depth", problem, "list the largest numbers with the others")
        })
    }

    /// Median times of lookups of present chunks, by number of keys.
    pub fn lookups(&mut self, point: ProbePoint) -> Result<Vec<LookupTime>, ProbeError> {
        self.fill(point)?;
        self.lookup_turn(1)
    }

    /// One of `turns` turns, each with its part of the time; the working set must be stored.
    pub(crate) fn lookup_turn(&self, turns: u32) -> Result<Vec<LookupTime>, ProbeError> {
        let keys = KeySpace::working(self.config.seed);
        let mut times = Vec::new();
        for count in LOOKUP_KEYS {
            if count > self.working || (self.stop)() {
                break;
            }
            let keys = keys.keys(0..count);
            times.extend(self.ask(&keys, turns.max(1))?);
        }
        Ok(times)
    }

    fn ask(
        &self,
        keys: &[weir_store::ChunkHash],
        turns: u32,
    ) -> Result<Option<LookupTime>, ProbeError> {
        // Fast lookups are repeated equally often in each turn.
        let fewest = FEWEST_LOOKUPS.div_ceil(turns as usize);
        let time = self.config.limits.duration / turns;
        let mut present = vec![false; keys.len()];
        let mut seconds = Vec::with_capacity(LOOKUPS);
        self.cool()?;
        let (clock, mut host) = (UtcClock::anchored(), HostProbe::open(self.reader_pid()));
        let (before, said) = (host.sample(&clock), self.ask_server());
        let mut grown = Growth::default();
        let start = Instant::now();
        while seconds.len() < LOOKUPS && !(self.stop)() {
            if start.elapsed() > time && seconds.len() >= fewest {
                break;
            }
            let began = Instant::now();
            self.tier.contains(keys, began + self.config.deadline, &mut present)?;
            seconds.push(began.elapsed().as_secs_f64());
        }
        let device = self.device_read(&host.sample(&clock).since(&before));
        grown.add(&said, &self.ask_server());
        let bytes = (seconds.len() * keys.len()) as u64 * self.block.bytes.0;
        let asked = seconds.len() as u32;
        Ok(Repeated::of(seconds).map(|seconds| LookupTime {
            keys: keys.len() as u32,
            seconds: seconds.median,
            longest_s: seconds.high,
            asked,
            turns: Vec::new(),
            device_bytes_per_byte: device.map(|device| device as f64 / bytes as f64),
            engine: grown.counters().and_then(|counters| EngineWork::of(&counters, bytes)),
        }))
    }

    fn reader_pid(&self) -> &[u32] {
        match &self.origin.reader {
            BlockReader::Process(pid) => std::slice::from_ref(pid),
            BlockReader::Unseen | BlockReader::Own => &[],
        }
    }

    fn device_read(&self, during: &HostUse) -> Option<u64> {
        let place = match self.origin.reader {
            BlockReader::Unseen => return None,
            BlockReader::Own => 0,
            BlockReader::Process(_) => 1,
        };
        during.processes.get(place)?.as_ref()?.device_read.map(|bytes| bytes.0)
    }

    pub(crate) fn cool(&self) -> Result<(), ProbeError> {
        self.cold.as_ref().map_or(Ok(()), |cold| (cold.cool)())
    }

    pub(crate) const fn config(&self) -> &ProbeConfig {
        self.config
    }

    pub(crate) const fn slab(&self) -> &Arc<Slab> {
        &self.slab
    }

    pub(crate) fn server_at(&self) -> Option<ServerAt> {
        self.server.as_ref().map(|server| server.at)
    }

    pub(crate) const fn is_cold(&self) -> bool {
        self.cold.is_some()
    }

    /// Stores missing blocks of the working set; an error when none of it can be stored.
    pub(crate) fn fill(&mut self, point: ProbePoint) -> Result<(), ProbeError> {
        let mut workers = self.workers(&point, 0)?;
        let task = LapTask::Fill(KeySpace::working(self.config.seed), self.working);
        let budget = AtomicU64::new(u64::MAX);
        self.lap(&mut workers, point, task, NO_LIMIT, &budget)?;
        let mut outcomes = Outcomes::default();
        for worker in &workers {
            outcomes.add(&worker.tally.outcomes);
        }
        if outcomes.stored + outcomes.present == 0 && !(self.stop)() {
            let counted = outcomes.trouble();
            let (why, remedy) = match self.tier.problem() {
                Some(problem) => (format!("{counted}; {problem}"), ""),
                None => (counted, "look at the store's memory limit and log, or raise --deadline"),
            };
            return Err(ProbeError::NothingStored {
                place: self.tier.place(),
                tried: outcomes.full + outcomes.failed(),
                why,
                remedy,
            });
        }
        Ok(())
    }

    pub(crate) fn lap_blocks(&self, point: &ProbePoint) -> u64 {
        lap_blocks(self.working, point)
    }

    /// Most bytes stored at one time, over all block sizes.
    pub(crate) fn stored(&self) -> Bytes {
        match self.trace {
            Some(trace) => self.block.bytes * trace.distinct().len() as u64,
            None => stored(self.config, self.block.bytes, self.working),
        }
    }

    fn phase(
        &mut self,
        workers: &mut [ProbeWorker],
        point: ProbePoint,
        time: Duration,
        budget: &AtomicU64,
    ) -> Result<Phase, ProbeError> {
        let mut phase = Phase::new();
        let clock = UtcClock::anchored();
        let mut host = HostProbe::open(self.reader_pid());
        let at = self.server.as_ref().map(|server| server.at);
        while phase.wall < time && !(self.stop)() && budget.load(Ordering::Relaxed) > 0 {
            let fresh = KeySpace::fresh(self.config.seed, self.generation);
            let blocks = self.lap_blocks(&point);
            let task = self.trace.map_or(LapTask::Keys(fresh, blocks), LapTask::Trace);
            let part = self.cold_part(&point);
            if part.is_some() {
                self.cool()?;
            }
            let (began, before) = (host.sample(&clock), self.ask_server());
            let cpu = cpu::of_process();
            let left = time.saturating_sub(phase.wall);
            let wall = match part {
                Some(part) => self.part(workers, point, task, left, (budget, part))?,
                None => self.lap(workers, point, task, left, budget)?,
            };
            phase.client += cpu::of_process() - cpu;
            phase.wall += wall;
            phase.laps += 1;
            let during = host.sample(&clock).since(&began);
            let after = self.ask_server();
            phase.grown.add(&before, &after);
            // A restarted server counts from zero.
            let server = before.cpu.zip(after.cpu).map(|(from, to)| to.saturating_sub(from));
            phase.server = phase.server.zip(server).map(|(sum, one)| sum + one);
            let device = self.device_read(&during);
            phase.device = phase.device.zip(device).map(|(sum, one)| sum + one);
            let ours = server.filter(|_| at == Some(ServerAt::Machine)).unwrap_or_default();
            phase.foreign = phase.foreign.zip(during.foreign_cpus).map(|(sum, cpus)| {
                sum + (cpus * during.span.as_secs_f64() - ours.as_secs_f64()).max(0.0)
            });
            if self.trace.is_some() {
                break;
            }
            if !point.work.writes_new() {
                continue;
            }
            self.generation += 1;
            self.remove(&fresh.keys(0..blocks))?;
        }
        if let (Some(ServerAt::Process), Some(server)) = (at, phase.server) {
            phase.client = phase.client.saturating_sub(server);
        }
        phase.tallies = workers.iter().map(|worker| worker.tally.clone()).collect();
        Ok(phase)
    }

    /// Overhead of a phase of one batch: starting threads, querying the server and summing.
    pub(crate) fn around_phase(&mut self, point: ProbePoint) -> Result<Duration, ProbeError> {
        let mut workers = self.workers(&point, 0)?;
        let began = Instant::now();
        let phase = self.phase(&mut workers, point, NO_LIMIT, &AtomicU64::new(1))?;
        Ok(began.elapsed().saturating_sub(phase.wall))
    }

    /// Blocks between two cache drops; None if the tier is not kept cold.
    pub(crate) fn cold_part(&self, point: &ProbePoint) -> Option<u64> {
        let least = u64::from(point.threads) * u64::from(point.depth);
        let is_cold = self.is_cold() && point.work.reads() && self.trace.is_none();
        is_cold.then(|| (self.working / COOL_PART).max(least))
    }

    fn part(
        &self,
        workers: &mut [ProbeWorker],
        point: ProbePoint,
        task: LapTask<'_>,
        time: Duration,
        (budget, part): (&AtomicU64, u64),
    ) -> Result<Duration, ProbeError> {
        let part = part.min(budget.load(Ordering::Relaxed));
        let left = AtomicU64::new(part);
        let wall = self.lap(workers, point, task, time, &left)?;
        budget.fetch_sub(part - left.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(wall)
    }

    fn ask_server(&self) -> ServerWords {
        self.server.as_ref().map_or_else(ServerWords::default, |server| (server.ask)())
    }

    pub(crate) fn lap(
        &self,
        workers: &mut [ProbeWorker],
        point: ProbePoint,
        task: LapTask<'_>,
        time: Duration,
        budget: &AtomicU64,
    ) -> Result<Duration, ProbeError> {
        let lap = Lap {
            tier: &*self.tier,
            pattern: &self.pattern,
            point,
            task,
            deadline: self.config.deadline,
            verify: self.keeps.then_some(self.config.verify),
            time,
            budget,
            next: AtomicU64::new(0),
            stop: self.stop,
        };
        let start = Barrier::new(workers.len());
        let run = |thread: usize, worker: &mut ProbeWorker| -> Result<Duration, TierError> {
            if let Some(first) = self.config.pin {
                pin(first, thread);
            }
            start.wait();
            let began = Instant::now();
            worker.lap(&lap)?;
            Ok(began.elapsed())
        };
        let run = &run;
        let ended: Vec<Result<Duration, TierError>> = std::thread::scope(|scope| {
            let threads: Vec<_> = workers
                .iter_mut()
                .enumerate()
                .map(|(thread, worker)| scope.spawn(move || run(thread, worker)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|why| std::panic::resume_unwind(why)))
                .collect()
        });
        let mut longest = Duration::ZERO;
        for took in ended {
            longest = longest.max(took?);
        }
        Ok(longest)
    }
}

impl Phase {
    fn new() -> Self {
        Self {
            tallies: Vec::new(),
            wall: Duration::ZERO,
            client: Nanos::ZERO,
            server: Some(Nanos::ZERO),
            foreign: Some(0.0),
            device: Some(0),
            grown: Growth::default(),
            laps: 0,
        }
    }

    fn costs(&self) -> Costs {
        // Work of the threads between the calls is the benchmark's own, not the client's.
        let outside: u64 =
            self.tallies.iter().map(|tally| tally.cpu.saturating_sub(tally.cpu_inside).0).sum();
        Costs {
            wall: self.wall,
            laps: self.laps,
            client: self.client.saturating_sub(Nanos(outside)),
            server: self.server,
            device: self.device,
            rocksdb: self.grown.counters(),
            traffic: self.grown.traffic(),
            foreign: self.foreign.map(|seconds| seconds / self.wall.as_secs_f64().max(1e-9)),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Costs {
    pub(crate) wall: Duration,
    pub(crate) laps: u32,
    /// CPU time of this process inside the tier's calls, on any thread.
    pub(crate) client: Nanos,
    pub(crate) server: Option<Nanos>,
    pub(crate) foreign: Option<f64>,
    pub(crate) device: Option<u64>,
    pub(crate) rocksdb: Option<RocksDbFigures>,
    /// The server's traffic of all clients.
    pub(crate) traffic: Option<Traffic>,
}

/// CPUs are numbered modulo their count; if the machine refuses, the thread stays unpinned.
fn pin(first: u32, thread: usize) {
    let cores = allowed_cores();
    let Some(place) = cores.iter().position(|one| *one == first as usize) else { return };
    let _ = pin_thread(&[cores[(place + thread) % cores.len()]]);
}
