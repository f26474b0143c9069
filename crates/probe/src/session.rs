//! A whole measurement: all points, repeat by repeat, then the differential runs.
//!
//! Repeats are the outer loop and points the inner one. A machine that slows down then widens the
//! spread of all points instead of shifting one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use weir_model::{Bytes, HeldIn, LoadedFrom};
use weir_store::resp::RocksDbFigure;
use weir_store::server::raw::RawServer;
use weir_store::{Slab, Tier};

use crate::at_stake::AtStake;
use crate::config::{BlockSize, PointLimits, ProbeConfig, ProbePoint, Work, WorkingSet};
use crate::differential::{
    Behind, Bounds, CopySource, Device, DeviceWork, FileReads, Inside, Layer, Layers, PlainRun,
    RawRun, bounds, copy_run, raw_run,
};
use crate::engine_work::EngineWork;
use crate::error::ProbeError;
use crate::expected::expected;
use crate::figures::{PointResult, Run};
use crate::fit::LookupTime;
use crate::origin::{Cold, TierOrigin};
use crate::run::Bench;
use crate::server::TierServer;
use crate::statistics::Repeated;
use crate::trace::Trace;
use crate::volume::buffers;

#[derive(Debug)]
pub struct Opened {
    pub tier: Arc<dyn Tier>,
    pub server: Option<TierServer>,
    pub origin: TierOrigin,
    /// How its caches are dropped, if requested.
    pub cold: Option<Cold>,
    /// Other users' keys that it would evict when full.
    pub at_stake: Option<Box<AtStake>>,
}

pub enum Baselines {
    Memory,
    /// A copy, and the device of a folder.
    Disk(Option<Device>),
    /// A copy, raw connections and a null server, as far as possible.
    Store {
        raw: Option<RawServer>,
        null: Option<Opened>,
        /// Whether the store keeps values in memory only.
        in_memory: bool,
    },
}

impl std::fmt::Debug for Baselines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Memory => "Memory",
            Self::Disk(_) => "Disk",
            Self::Store { .. } => "Store",
        })
    }
}

pub trait Subject {
    /// Opens the tier for blocks of this size, `threads` threads and batches of at most `depth`
    /// blocks, all in buffers of `slab`.
    fn open(
        &mut self,
        block: Bytes,
        threads: u32,
        depth: u32,
        slab: &Arc<Slab>,
    ) -> Result<Opened, ProbeError>;

    fn baselines(&mut self, point: &ProbePoint) -> Result<Baselines, ProbeError>;
}

/// Progress: a step is done, or about to begin.
#[derive(Debug, Clone, Copy)]
pub struct ProbeStep<'a> {
    pub done: usize,
    pub total: usize,
    pub next: &'a str,
    /// Only with the first step: expected duration of the session, by a few operations of the tier.
    /// None for a trace, which ends with its requests.
    pub expected: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimeBreakdown {
    pub point: ProbePoint,
    pub layers: Layers,
    /// Seconds per GB in the point's row of the table.
    pub row_s_per_gb: Repeated,
    pub bounds: Bounds,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ProbeMeasurements {
    /// Points with at least one repeat, in the order of the plan.
    pub points: Vec<PointResult>,
    /// Per block size.
    #[serde(rename = "whereabouts")]
    pub breakdowns: Vec<TimeBreakdown>,
    /// With the largest blocks.
    pub lookups: Vec<LookupTime>,
    pub interrupted: bool,
    pub failed: Option<String>,
}

pub struct ProbeSession<'a> {
    config: &'a ProbeConfig,
    subject: &'a mut dyn Subject,
    traces: &'a [(BlockSize, Trace)],
    differential: bool,
    source: Option<Arc<CopySource>>,
    stop: &'a (dyn Fn() -> bool + Sync),
    progress: &'a mut dyn FnMut(ProbeStep<'_>),
    done: usize,
    /// Until it is reported.
    expected: Option<Duration>,
    measured: ProbeMeasurements,
}

impl std::fmt::Debug for ProbeSession<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("config", self.config).finish_non_exhaustive()
    }
}

impl<'a> ProbeSession<'a> {
    /// `traces` holds one per block size, or none.
    pub fn new(
        config: &'a ProbeConfig,
        subject: &'a mut dyn Subject,
        traces: &'a [(BlockSize, Trace)],
        differential: bool,
        stop: &'a (dyn Fn() -> bool + Sync),
        progress: &'a mut dyn FnMut(ProbeStep<'_>),
    ) -> Self {
        Self {
            config,
            subject,
            traces,
            differential,
            source: None,
            stop,
            progress,
            done: 0,
            expected: None,
            measured: ProbeMeasurements::default(),
        }
    }

    /// Steps of the differential runs: one per repeat, block size and work.
    pub fn compared(config: &ProbeConfig) -> usize {
        differential_works(config).len() * config.blocks.len() * config.repeats as usize
    }

    pub fn steps(config: &ProbeConfig, differential: bool) -> usize {
        let runs = config.points().len() * config.repeats as usize;
        let lookups =
            config.blocks.iter().filter(|block| lookup_point(config, **block).is_some()).count();
        runs + lookups + if differential { Self::compared(config) } else { 0 }
    }

    /// An early error is returned; a later one, or a stop, keeps the results so far.
    pub fn run(mut self) -> Result<ProbeMeasurements, ProbeError> {
        for place in 0..self.config.blocks.len() {
            if (self.stop)() {
                break;
            }
            let done = self.block(self.config.blocks[place]);
            match done {
                Ok(()) => {}
                Err(error) if self.measured.points.is_empty() => return Err(error),
                Err(error) => {
                    self.measured.failed = Some(error.to_string());
                    break;
                }
            }
        }
        self.measured.interrupted = (self.stop)();
        Ok(self.measured)
    }

    fn step(&mut self, next: &str) {
        let total = Self::steps(self.config, self.differential);
        let expected = self.expected.take();
        (self.progress)(ProbeStep { done: self.done, total, next, expected });
        self.done += 1;
    }

    fn bench(&mut self, block: BlockSize) -> Result<Bench<'a>, ProbeError> {
        let most = |list: &[u32]| list.iter().copied().max().unwrap_or(1);
        let (threads, depth) = (most(&self.config.threads), most(&self.config.depths));
        let slab = buffers(self.config, block.bytes)?;
        let opened = self.subject.open(block.bytes, threads, depth, &slab)?;
        let trace = self.traces.iter().find(|(size, _)| *size == block).map(|(_, trace)| trace);
        let bench = Bench::new(self.config, opened.tier, block, slab, self.stop)?;
        let bench = bench.with_origin(opened.origin, opened.cold).with_trace(trace);
        // Later, a store may still be freeing removed blocks.
        if let Some(others) = opened.at_stake.filter(|_| self.done == 0) {
            others.check(bench.stored())?;
        }
        Ok(bench.with_server(opened.server))
    }

    fn block(&mut self, block: BlockSize) -> Result<(), ProbeError> {
        let began = Instant::now();
        let mut bench = self.bench(block)?;
        if self.done == 0 && self.traces.is_empty() {
            let opening = began.elapsed();
            let baselines = self.baselines_time(block)?;
            self.expected = expected(&mut bench, block, (opening, baselines))?;
        }
        let done = self.points(block, &mut bench);
        let compared = match &done {
            Ok(()) if self.differential && !(self.stop)() => self.compare(block, &mut bench),
            _ => Ok(()),
        };
        if let Some(point) = lookup_point(self.config, block)
            && done.is_ok()
            && !(self.stop)()
        {
            self.step(&format!("lookups of {}", block.bytes));
            self.measured.lookups = bench.lookups(point)?;
        }
        // Even after a failure, no probe blocks should stay in a user's store.
        let tidied = bench.tidy();
        done.and(compared).and(tidied)
    }

    /// Allocated once, before the expected time is reported.
    fn source(&mut self) -> Result<Option<Arc<CopySource>>, ProbeError> {
        if self.source.is_none() {
            let largest = self.config.blocks.iter().map(|block| block.bytes.0).max();
            self.source = CopySource::new(largest.unwrap_or(1) as usize)?.map(Arc::new);
        }
        Ok(self.source.clone())
    }

    /// Time to prepare the comparison runs; None without them.
    fn baselines_time(&mut self, block: BlockSize) -> Result<Option<Duration>, ProbeError> {
        let points = self.config.points();
        let compared = |point: &&ProbePoint| {
            self.differential
                && point.block == block
                && differential_works(self.config).contains(&point.work)
        };
        let Some(point) = points.iter().find(compared) else { return Ok(None) };
        self.source()?;
        let began = Instant::now();
        drop(self.subject.baselines(point)?);
        Ok(Some(began.elapsed()))
    }

    fn points(&mut self, block: BlockSize, bench: &mut Bench<'_>) -> Result<(), ProbeError> {
        let points: Vec<ProbePoint> =
            self.config.points().into_iter().filter(|point| point.block == block).collect();
        let mut runs: Vec<Vec<Run>> = points.iter().map(|_| Vec::new()).collect();
        let mut failed = Ok(());
        'repeats: for repeat in 0..self.config.repeats {
            for (point, runs) in points.iter().zip(&mut runs) {
                if (self.stop)() {
                    break 'repeats;
                }
                self.step(&label(point));
                match bench.measure(*point, repeat) {
                    Ok(run) => runs.extend(run),
                    Err(error) => {
                        failed = Err(error);
                        break 'repeats;
                    }
                }
            }
        }
        let (results, held) = (points.into_iter().zip(runs), bench.origin().held);
        self.measured
            .points
            .extend(results.filter_map(|(point, runs)| PointResult::of(point, runs, held)));
        failed
    }

    fn compare(&mut self, block: BlockSize, bench: &mut Bench<'_>) -> Result<(), ProbeError> {
        let works = differential_works(self.config);
        if works.is_empty() {
            return Ok(());
        }
        let Some(source) = self.source()? else { return Ok(()) };
        for work in works {
            let measured = self.measured.points.iter();
            let rates = measured
                .filter(|result| result.point.block == block && result.point.work == work)
                .filter_map(|result| Some((result.main()?.gb_per_s, result.point)));
            let best = rates.max_by(|a, b| a.0.median.total_cmp(&b.0.median));
            let Some((rate, point)) = best else { continue };
            let mut baselines = self.subject.baselines(&point)?;
            if let Some(layers) = self.layers(point, bench, (&source, &mut baselines))? {
                let row_s_per_gb = rate.map(|rate| 1.0 / rate);
                let bounds = bounds(&layers).beside(row_s_per_gb);
                let found = TimeBreakdown { point, layers, row_s_per_gb, bounds };
                self.measured.breakdowns.push(found);
            }
        }
        Ok(())
    }

    fn layers(
        &mut self,
        point: ProbePoint,
        bench: &mut Bench<'_>,
        (source, baselines): (&CopySource, &mut Baselines),
    ) -> Result<Option<Layers>, ProbeError> {
        let time = self.config.limits.duration / 2;
        let limits = PointLimits {
            duration: time,
            warmup: self.config.limits.warmup / 2,
            operations: self.config.limits.operations,
        };
        bench.set_limits(limits);
        let null = match baselines {
            Baselines::Store { null, .. } => null.take(),
            _ => None,
        };
        // A null server has no capacity that a working set could be a multiple of.
        let working_set = WorkingSet::Blocks(bench.working_blocks());
        let config = ProbeConfig { working_set, ..self.config.clone() };
        let mut null = match null {
            Some(opened) => {
                // Its blocks are free between two measurements.
                let slab = Arc::clone(bench.slab());
                let bench = Bench::new(&config, opened.tier, point.block, slab, self.stop)?;
                Some(bench.with_server(opened.server).with_limits(limits).without_keyspace())
            }
            None => None,
        };
        let [mut copy, mut raws, mut nulls, mut tiers] = [(); 4].map(|()| Runs::default());
        for repeat in 0..self.config.repeats {
            if (self.stop)() {
                break;
            }
            self.step(&format!("where the time goes: {}", label(&point)));
            copy.plain(copy_run(source, bench.slab(), point.threads, point.depth, time / 2));
            without_tier(baselines, point, bench, time, &mut raws)?;
            if let Some(null) = &mut null {
                nulls.tier(null.measure(point, repeat)?);
            }
            tiers.tier(bench.measure(point, repeat)?);
        }
        bench.set_limits(self.config.limits);
        let behind = Behind::of_folder(
            bench.origin(),
            point.work.reads().then(|| tiers.loaded_from(bench.origin().held)),
        );
        let inside = tiers.inside(point.work.reads(), bench.origin().held);
        let (Some(copy), Some(tier)) = (copy.layer(), tiers.layer()) else { return Ok(None) };
        Ok(Some(match baselines {
            Baselines::Memory => Layers::Memory { copy, tier },
            Baselines::Disk(_) => Layers::Disk { copy, device: raws.layer(), tier, behind },
            Baselines::Store { in_memory, .. } => Layers::Store {
                copy,
                raw: raws.layer(),
                null: nulls.layer(),
                tier,
                in_memory: *in_memory,
                inside,
            },
        }))
    }
}

fn without_tier(
    baselines: &Baselines,
    point: ProbePoint,
    bench: &Bench<'_>,
    time: Duration,
    runs: &mut Runs,
) -> Result<(), ProbeError> {
    let ProbePoint { threads, depth, work, .. } = point;
    // As many in flight as the tier has: a batch of loads has no duplicate keys.
    let depth =
        if work.reads() { u64::from(depth).min(bench.working_blocks()) as u32 } else { depth };
    match baselines {
        Baselines::Disk(Some(device)) => {
            let work = if work.reads() { DeviceWork::Read } else { DeviceWork::Write };
            runs.plain(device.run(work, threads * depth, time)?);
        }
        Baselines::Store { raw: Some(server), .. } => {
            runs.raw(raw_run(server, work.reads(), threads, depth, bench.slab(), time)?);
        }
        _ => {}
    }
    Ok(())
}

/// Works with differential runs: mixtures have no plain counterpart.
pub(crate) fn differential_works(config: &ProbeConfig) -> Vec<Work> {
    let plain = config.works.iter().filter(|work| matches!(work, Work::Write | Work::Read));
    plain.copied().collect()
}

/// The point of the lookups: one thread, the largest blocks.
pub(crate) fn lookup_point(config: &ProbeConfig, block: BlockSize) -> Option<ProbePoint> {
    let largest = config.blocks.iter().map(|block| block.bytes).max()?;
    let work = *config.works.iter().find(|work| **work == Work::Read)?;
    let depth = config.depths.iter().copied().max()?;
    (block.bytes == largest).then_some(ProbePoint { block, threads: 1, depth, work })
}

pub fn label(point: &ProbePoint) -> String {
    format!("{} {}, {} x {}", point.work.name(), point.block.bytes, point.threads, point.depth)
}

#[derive(Default)]
struct Runs {
    seconds: Vec<f64>,
    /// Seconds per GB that runs would have taken at least, if less.
    least: Vec<f64>,
    client: Vec<f64>,
    server: Vec<f64>,
    engine: Vec<EngineWork>,
    /// Bytes read from a device per byte loaded.
    device: Vec<f64>,
}

impl Runs {
    fn plain(&mut self, run: Option<PlainRun>) {
        if let Some(run) = run {
            self.seconds.push(run.s_per_gb);
            self.client.push(run.client_cpu_s_per_gb);
        }
    }

    fn raw(&mut self, run: Option<RawRun>) {
        if let Some(run) = run {
            self.plain(Some(run.plain));
            self.server.push(run.server_cpu_s_per_gb);
        }
    }

    fn tier(&mut self, run: Option<Run>) {
        let Some(run) = run else { return };
        if let Some(side) = run.main().filter(|side| side.gb_per_s > 0.0) {
            // Between the achieved rate and that of the calls alone.
            self.seconds.push(1.0 / side.gb_per_s);
            self.least.push(1.0 / side.gb_per_s_in_calls);
            self.client.push(run.client_cpu_s_per_gb);
            self.server.extend(run.server_cpu_s_per_gb);
            self.engine.extend(run.engine);
            self.device.extend(run.device_bytes_per_loaded_byte);
        }
    }

    fn loaded_from(&self, held: HeldIn) -> LoadedFrom {
        let device = Repeated::of(self.device.iter().copied()).map(|device| device.median);
        LoadedFrom::of(held, device)
    }

    /// Times by the engine's own clock, if every repeat has them.
    fn inside(&self, is_read: bool, held: HeldIn) -> Option<Inside> {
        let over = |of: fn(&EngineWork) -> Option<f64>| -> Option<Repeated> {
            let values: Vec<f64> = self.engine.iter().map(of).collect::<Option<_>>()?;
            Repeated::of(values).filter(|_| self.engine.len() == self.seconds.len())
        };
        if !is_read {
            return Some(Inside { engine: over(|work| work.write_s_per_gb)?, files: None });
        }
        let from = self.loaded_from(held);
        let s_per_gb = over(|work| work.file_read_s_per_gb)?;
        let compacted = |work: &EngineWork| work.counters.get(RocksDbFigure::CompactionReadBytes);
        let in_calls_alone = self.engine.iter().all(|work| compacted(work) == Some(0));
        let files = Some(FileReads { s_per_gb, from, in_calls_alone });
        Some(Inside { engine: over(|work| work.get_s_per_gb)?, files })
    }

    fn layer(self) -> Option<Layer> {
        let mut s_per_gb = Repeated::of(self.seconds)?;
        s_per_gb.low = self.least.into_iter().fold(s_per_gb.low, f64::min);
        Some(Layer {
            s_per_gb,
            client_cpu: Repeated::of(self.client),
            server_cpu: Repeated::of(self.server),
        })
    }
}
