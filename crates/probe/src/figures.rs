//! From counts to figures: of one repeat, and of a point over its repeats.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use weir_model::{Bytes, HeldIn, LoadedFrom};

use crate::config::ProbePoint;
use crate::engine_work::EngineWork;
use crate::run::Costs;
use crate::server::Shared;
use crate::statistics::Repeated;
use crate::tally::{Outcomes, Side, WorkerTally};

/// Latencies of one repeat, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    pub mean: f64,
    pub p50: f64,
    /// None below 10 batches, where it would be the maximum.
    pub p90: Option<f64>,
    /// None below 100 batches.
    pub p99: Option<f64>,
    /// None below 1000 batches.
    pub p999: Option<f64>,
    pub max: f64,
}

impl Quantiles {
    fn of(histogram: &Histogram<u64>, batches: u64) -> Self {
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let at = |quantile: f64| micros(histogram.value_at_quantile(quantile));
        Self {
            mean: histogram.mean() / 1e3,
            p50: at(0.5),
            p90: (batches >= 10).then(|| at(0.9)),
            p99: (batches >= 100).then(|| at(0.99)),
            p999: (batches >= 1000).then(|| at(0.999)),
            max: micros(histogram.max()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SideRun {
    /// GB/s. With one thread: bytes over time inside the tier's calls. With several: bytes over
    /// wall time, because a thread that compares a block leaves the tier to the others.
    pub gb_per_s: f64,
    /// GB/s: bytes over time inside the calls, summed over threads. An upper limit without work
    /// outside the calls.
    pub gb_per_s_in_calls: f64,
    pub blocks_per_s: f64,
    pub blocks: u64,
    pub batches: u64,
    pub batch_us: Quantiles,
    /// Batch time divided by its blocks.
    pub block_us: Quantiles,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    pub read: Option<SideRun>,
    pub write: Option<SideRun>,
    pub outcomes: Outcomes,
    pub wall_s: f64,
    pub laps: u32,
    /// Share of the threads' time outside the tier's calls: keys, stamps, comparison.
    pub outside_share: f64,
    /// CPU seconds of this process per GB moved, inside the calls.
    pub client_cpu_s_per_gb: f64,
    /// CPU seconds of the server per GB moved.
    pub server_cpu_s_per_gb: Option<f64>,
    /// Average number of CPUs kept busy by other processes.
    pub foreign_cpus: Option<f64>,
    /// Bytes read from a device per byte loaded.
    pub device_bytes_per_loaded_byte: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineWork>,
    /// The server's traffic of all clients; None if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<Shared>,
}

impl Run {
    pub(crate) fn of(block: Bytes, tallies: &[WorkerTally], costs: Costs) -> Self {
        let side = |which: fn(&WorkerTally) -> &Side| side_run(block, tallies, which, costs.wall);
        let mut outcomes = Outcomes::default();
        let (mut timed, mut wall, mut moved) = (0.0, 0.0, 0);
        for tally in tallies {
            outcomes.add(&tally.outcomes);
            timed += tally.timed().as_secs_f64();
            wall += tally.wall.as_secs_f64();
            moved += tally.reads.moved + tally.writes.moved;
        }
        let gigabytes = (moved * block.0) as f64 / 1e9;
        let loaded = tallies.iter().map(|tally| tally.reads.moved).sum::<u64>() * block.0;
        let device = costs.device.filter(|_| loaded > 0);
        let asked =
            tallies.iter().map(|tally| tally.reads.blocks.len() + tally.writes.blocks.len());
        let asked: u64 = asked.sum();
        let laps = u64::from(costs.laps);
        Self {
            read: side(|tally| &tally.reads),
            write: side(|tally| &tally.writes),
            outcomes,
            wall_s: costs.wall.as_secs_f64(),
            laps: costs.laps,
            outside_share: if wall > 0.0 { (1.0 - timed / wall).max(0.0) } else { 0.0 },
            client_cpu_s_per_gb: costs.client.as_secs_f64() / gigabytes,
            server_cpu_s_per_gb: costs.server.map(|cpu| cpu.as_secs_f64() / gigabytes),
            foreign_cpus: costs.foreign,
            device_bytes_per_loaded_byte: device.map(|bytes| bytes as f64 / loaded as f64),
            engine: costs.rocksdb.and_then(|counters| EngineWork::of(&counters, moved * block.0)),
            shared: costs.traffic.map(|traffic| Shared::of(traffic, asked, block, laps)),
        }
    }

    /// The side of the work: loads if there are any.
    pub fn main(&self) -> Option<&SideRun> {
        self.read.as_ref().or(self.write.as_ref())
    }
}

fn side_run(
    block: Bytes,
    tallies: &[WorkerTally],
    which: fn(&WorkerTally) -> &Side,
    wall: Duration,
) -> Option<SideRun> {
    let mut sum = Side::default();
    let mut in_calls = 0.0;
    for tally in tallies {
        let side = which(tally);
        sum.add(side);
        let seconds = tally.timed().as_secs_f64();
        if seconds > 0.0 {
            in_calls += side.moved as f64 / seconds;
        }
    }
    let achieved = sum.moved as f64 / wall.as_secs_f64().max(1e-9);
    let blocks_per_s = if tallies.len() == 1 { in_calls } else { achieved };
    let gigabytes = block.0 as f64 / 1e9;
    (!sum.batches.is_empty()).then(|| SideRun {
        gb_per_s: blocks_per_s * gigabytes,
        gb_per_s_in_calls: in_calls * gigabytes,
        blocks_per_s,
        blocks: sum.moved,
        batches: sum.batches.len(),
        batch_us: Quantiles::of(&sum.batches, sum.batches.len()),
        block_us: Quantiles::of(&sum.blocks, sum.batches.len()),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RepeatedQuantiles {
    pub mean: Repeated,
    pub p50: Repeated,
    /// This and the next ones only if every repeat has them.
    pub p90: Option<Repeated>,
    pub p99: Option<Repeated>,
    pub p999: Option<Repeated>,
    pub max: Repeated,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SidePoint {
    pub gb_per_s: Repeated,
    pub blocks_per_s: Repeated,
    /// Only if a block stands for tokens of a model.
    pub tokens_per_s: Option<Repeated>,
    /// Of a batch, microseconds.
    pub batch_us: RepeatedQuantiles,
    /// Batch time divided by its blocks, microseconds.
    pub block_us: RepeatedQuantiles,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PointResult {
    pub point: ProbePoint,
    pub read: Option<SidePoint>,
    pub write: Option<SidePoint>,
    /// Share of requested blocks that were present.
    pub hit_share: Option<Repeated>,
    /// CPU seconds of this process per GB.
    pub client_cpu_s_per_gb: Option<Repeated>,
    /// CPU seconds of the server per GB.
    pub server_cpu_s_per_gb: Option<Repeated>,
    /// Bytes read from a device per byte loaded; None if not counted.
    pub device_bytes_per_loaded_byte: Option<Repeated>,
    pub loaded_from: Option<LoadedFrom>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineWork>,
    pub outcomes: Outcomes,
    pub repeats: Vec<Run>,
}

impl PointResult {
    pub fn of(point: ProbePoint, repeats: Vec<Run>, held: HeldIn) -> Option<Self> {
        if repeats.is_empty() {
            return None;
        }
        let mut outcomes = Outcomes::default();
        for run in &repeats {
            outcomes.add(&run.outcomes);
        }
        let over = |of: fn(&Run) -> Option<f64>| Repeated::of(repeats.iter().filter_map(of));
        let device = over(|run| run.device_bytes_per_loaded_byte);
        let has_loads = repeats.iter().any(|run| run.read.as_ref().is_some_and(|r| r.blocks > 0));
        Some(Self {
            point,
            device_bytes_per_loaded_byte: device,
            loaded_from: has_loads
                .then(|| LoadedFrom::of(held, device.map(|device| device.median))),
            read: side_point(point, repeats.iter().filter_map(|run| run.read.as_ref())),
            write: side_point(point, repeats.iter().filter_map(|run| run.write.as_ref())),
            hit_share: over(|run| run.outcomes.hit_share()),
            client_cpu_s_per_gb: over(|run| Some(run.client_cpu_s_per_gb)),
            server_cpu_s_per_gb: over(|run| run.server_cpu_s_per_gb),
            engine: EngineWork::sum(repeats.iter().map(|run| run.engine.as_ref())),
            outcomes,
            repeats,
        })
    }

    /// Spread of one side over the repeats, percent; None for one repeat.
    pub fn spread_percent(&self, side: &SidePoint) -> Option<f64> {
        (self.repeats.len() > 1).then(|| side.gb_per_s.spread_percent())
    }

    /// Average blocks moved per batch of loads or stores: fewer than the depth if the working set
    /// has fewer, or if blocks were missing.
    pub fn batch_blocks(&self, is_read: bool) -> Option<f64> {
        let sides = self
            .repeats
            .iter()
            .filter_map(|run| if is_read { run.read.as_ref() } else { run.write.as_ref() });
        let (blocks, batches) =
            sides.fold((0, 0), |sum, side| (sum.0 + side.blocks, sum.1 + side.batches));
        (batches > 0).then(|| blocks as f64 / batches as f64)
    }

    /// The side of the work: loads if there are any.
    pub fn main(&self) -> Option<&SidePoint> {
        self.read.as_ref().or(self.write.as_ref())
    }
}

fn side_point<'r>(point: ProbePoint, runs: impl Iterator<Item = &'r SideRun>) -> Option<SidePoint> {
    let runs: Vec<&SideRun> = runs.collect();
    let over = |of: &dyn Fn(&SideRun) -> f64| Repeated::of(runs.iter().map(|run| of(run)));
    let quantiles = |of: fn(&SideRun) -> &Quantiles| {
        let known = |pick: fn(&Quantiles) -> Option<f64>| {
            let values: Option<Vec<f64>> = runs.iter().map(|run| pick(of(run))).collect();
            Repeated::of(values?)
        };
        Some(RepeatedQuantiles {
            mean: over(&|run| of(run).mean)?,
            p50: over(&|run| of(run).p50)?,
            p90: known(|quantiles| quantiles.p90),
            p99: known(|quantiles| quantiles.p99),
            p999: known(|quantiles| quantiles.p999),
            max: over(&|run| of(run).max)?,
        })
    };
    let blocks_per_s = over(&|run| run.blocks_per_s)?;
    let tokens = point.block.tokens.map(f64::from);
    Some(SidePoint {
        gb_per_s: over(&|run| run.gb_per_s)?,
        blocks_per_s,
        tokens_per_s: tokens.map(|tokens| blocks_per_s.map(|rate| rate * tokens)),
        batch_us: quantiles(|run| &run.batch_us)?,
        block_us: quantiles(|run| &run.block_us)?,
    })
}

#[cfg(test)]
mod tests {
    use weir_model::Nanos;

    use super::*;
    use crate::config::{BlockSize, Work};

    fn tally(batches: u64, millis: u64, wall: u64) -> WorkerTally {
        let mut tally = WorkerTally { wall: Duration::from_millis(wall), ..WorkerTally::default() };
        for _ in 0..batches {
            tally.reads.batch(4, 4, Duration::from_millis(millis / batches));
            for _ in 0..4 {
                tally.outcomes.fetched(weir_store::Loaded::Hit);
            }
        }
        tally
    }

    #[test]
    fn a_quantile_that_too_few_batches_have_is_unknown() {
        let quantiles = |batches: u64| {
            let mut side = Side::default();
            (1..=batches).for_each(|number| side.batch(8, 8, Duration::from_micros(number)));
            Quantiles::of(&side.blocks, side.batches.len())
        };
        for (batches, known) in [
            (9, [false, false, false]),
            (10, [true, false, false]),
            (99, [true, false, false]),
            (100, [true, true, false]),
            (1000, [true, true, true]),
        ] {
            let Quantiles { p50, p90, p99, p999, .. } = quantiles(batches);
            assert_eq!([p90, p99, p999].map(|one| one.is_some()), known, "{batches}");
            assert!(p50 > 0.0);
        }
    }

    #[test]
    fn rates_are_summed_over_threads_and_costs_are_per_gigabyte() {
        // Two threads: 40 blocks of 1 MB in 100 ms, 20 blocks in 100 ms.
        let tallies = [tally(10, 100, 110), tally(5, 100, 110)];
        let costs = Costs {
            wall: Duration::from_millis(110),
            laps: 1,
            client: Nanos::from_millis(30),
            server: Some(Nanos::from_millis(60)),
            foreign: None,
            device: Some(15_000_000),
            rocksdb: None,
            traffic: None,
        };
        let run = Run::of(Bytes(1_000_000), &tallies, costs);
        let read = run.read.as_ref().unwrap();
        assert!((read.gb_per_s_in_calls - 0.6).abs() < 1e-9, "{read:?}");
        // 60 MB in the 110 ms from start to end.
        assert!((read.gb_per_s - 0.06 / 0.11).abs() < 1e-9, "{read:?}");
        assert_eq!((read.blocks, read.batches, run.write.is_none()), (60, 15, true));
        // 0.06 GB for 30 and 60 ms of CPU time; 20 of 220 ms outside.
        assert!((run.client_cpu_s_per_gb - 0.5).abs() < 1e-9);
        assert!((run.server_cpu_s_per_gb.unwrap() - 1.0).abs() < 1e-9);
        assert!((run.outside_share - 1.0 / 11.0).abs() < 1e-9);
        // 15 of the 60 MB that were loaded.
        assert_eq!(run.device_bytes_per_loaded_byte, Some(0.25));
        let block = BlockSize { bytes: Bytes(1_000_000), tokens: Some(256) };
        let point = ProbePoint { block, threads: 2, depth: 4, work: Work::Read };
        let mut slow = run.clone();
        slow.read.as_mut().unwrap().blocks_per_s = 300.0;
        let result = PointResult::of(point, vec![run, slow], HeldIn::Device).unwrap();
        assert_eq!(result.loaded_from, Some(LoadedFrom::Device { percent: 25.0 }));
        let tokens = result.read.unwrap().tokens_per_s.unwrap();
        assert_eq!(tokens.low, 300.0 * 256.0);
        assert!((tokens.high - 60.0 / 0.11 * 256.0).abs() < 1e-6);
        assert_eq!(result.hit_share, Some(Repeated::once(1.0)));
    }
}
