//! Points on a tier in host memory: counts, hit rates, and that wrong bytes are found.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use weir_model::{Bytes, HeldIn, TierKind};
use weir_probe::fit::observations;
use weir_probe::volume::buffers;
use weir_probe::{
    Bench, BlockSize, PointLimits, PointResult, ProbeConfig, ProbeError, ProbePoint, Verify, Work,
    WorkingSet,
};
use weir_store::{
    ChunkHash, Get, Loaded, MemoryOptions, MemoryTier, Put, Stored, Tier, TierCounters, TierError,
    TierUsage,
};
use weir_tier::EvictionPolicy;
use weir_workload::config::Draw;

const BLOCK: BlockSize = BlockSize { bytes: Bytes(64 << 10), tokens: Some(16) };

fn tier(capacity: u32, eviction: EvictionPolicy) -> Arc<dyn Tier> {
    let block_bytes = BLOCK.bytes.0 as usize;
    Arc::new(MemoryTier::new(MemoryOptions { capacity, block_bytes, eviction }).unwrap())
}

fn config(working_set: WorkingSet) -> ProbeConfig {
    ProbeConfig {
        blocks: vec![BLOCK],
        threads: vec![1, 3],
        depths: vec![1, 8],
        works: vec![Work::Write, Work::Read, Work::Mixed(0.5), Work::Engine],
        working_set,
        draw: Draw::Uniform,
        limits: PointLimits {
            duration: Duration::from_millis(60),
            warmup: Duration::from_millis(5),
            operations: None,
        },
        repeats: 1,
        deadline: Duration::from_secs(10),
        verify: Verify::Full,
        pin: None,
        seed: 3,
    }
}

fn bench<'a>(
    config: &'a ProbeConfig,
    tier: Arc<dyn Tier>,
    stop: &'a (dyn Fn() -> bool + Sync),
) -> Result<Bench<'a>, ProbeError> {
    Bench::new(config, tier, BLOCK, buffers(config, BLOCK.bytes)?, stop)
}

fn never() -> bool {
    false
}

#[test]
fn all_works_move_bytes_and_leave_nothing() {
    let config = config(WorkingSet::Blocks(64));
    let tier = tier(512, EvictionPolicy::Lru);
    let mut bench = bench(&config, Arc::clone(&tier), &never).unwrap();
    for point in config.points() {
        let run = bench.measure(point, 0).unwrap().unwrap();
        assert_eq!(run.outcomes.trouble(), "", "{point:?}");
        let (reads, writes) = (run.read.is_some(), run.write.is_some());
        assert_eq!(reads, point.work.reads(), "{point:?}");
        // All blocks are present: an engine has nothing to store.
        assert_eq!(writes, point.work.writes_new(), "{point:?}");
        let main = run.main().unwrap();
        assert!(main.blocks > 0 && main.gb_per_s > 0.0, "{run:?}");
        let ordered = |p99| main.batch_us.p50 <= p99 && p99 <= main.batch_us.max;
        assert!(main.batch_us.p99.is_none_or(ordered));
        assert!(run.client_cpu_s_per_gb > 0.0, "{run:?}");
        assert!(run.outside_share < 1.0 && run.server_cpu_s_per_gb.is_none(), "{run:?}");
        if point.work.reads() {
            assert_eq!(run.outcomes.hit_share(), Some(1.0), "{point:?}");
        }
    }
    bench.tidy().unwrap();
    assert_eq!(tier.usage(Instant::now() + Duration::from_secs(1)).unwrap().chunks, 0);
}

#[test]
fn the_hit_rate_of_twice_the_capacity_is_a_half() {
    let config = config(WorkingSet::Capacities(2.0));
    let mut bench = bench(&config, tier(64, EvictionPolicy::Lru), &never).unwrap();
    assert_eq!(bench.working_blocks(), 128);
    let point = ProbePoint { block: BLOCK, threads: 1, depth: 1, work: Work::Engine };
    let run = bench.measure(point, 0).unwrap().unwrap();
    // Uniform draws from twice the LRU's capacity: every second block is present.
    let share = run.outcomes.hit_share().unwrap();
    assert!((share - 0.5).abs() < 0.1, "{share}");
    assert_eq!(run.outcomes.stored, run.outcomes.misses);
}

#[test]
fn a_budget_of_blocks_ends_a_point() {
    let mut config = config(WorkingSet::Blocks(64));
    config.limits.operations = Some(100);
    config.limits.duration = Duration::from_mins(1);
    let mut bench = bench(&config, tier(512, EvictionPolicy::Lru), &never).unwrap();
    for work in [Work::Read, Work::Write] {
        let point = ProbePoint { block: BLOCK, threads: 3, depth: 8, work };
        let run = bench.measure(point, 0).unwrap().unwrap();
        // The last batch is requested as a whole.
        assert!((100..108).contains(&run.main().unwrap().blocks), "{run:?}");
    }
}

#[test]
fn a_stopped_measurement_ends_soon() {
    let mut config = config(WorkingSet::Blocks(64));
    config.limits.duration = Duration::from_mins(10);
    let asked = AtomicU64::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) > 500;
    let mut bench = bench(&config, tier(512, EvictionPolicy::Lru), &stop).unwrap();
    let began = Instant::now();
    let point = ProbePoint { block: BLOCK, threads: 3, depth: 8, work: Work::Read };
    // A stopped run has a result, or none if nothing was measured.
    let run = bench.measure(point, 0).unwrap();
    assert!(run.is_none_or(|run| run.main().is_some()));
    assert!(began.elapsed() < Duration::from_secs(30));
}

/// A working set of two blocks makes batches of two, whatever the depth.
#[test]
fn a_fit_reckons_with_the_blocks_that_batches_had() {
    let config = ProbeConfig { threads: vec![1], depths: vec![8], ..config(WorkingSet::Blocks(2)) };
    let mut bench = bench(&config, tier(512, EvictionPolicy::Lru), &never).unwrap();
    let mut results = Vec::new();
    for work in [Work::Read, Work::Write] {
        let point = ProbePoint { block: BLOCK, threads: 1, depth: 8, work };
        let run = bench.measure(point, 0).unwrap().unwrap();
        results.push(PointResult::of(point, vec![run], HeldIn::Memory).unwrap());
    }
    assert_eq!(results[0].batch_blocks(true), Some(2.0));
    assert_eq!(results[0].batch_blocks(false), None);
    for one in observations(&results) {
        // With one thread, the rate is that of its batches.
        let rate = one.batch_blocks * one.block_bytes as f64 / one.batch_s / 1e9;
        assert!((rate / one.gb_per_s - 1.0).abs() < 0.02, "{one:?}");
    }
}

/// A tier that returns each block damaged, or takes none.
#[derive(Debug)]
struct Broken {
    inner: Arc<dyn Tier>,
    how: fn(&mut [u8]),
    is_full: bool,
}

impl Tier for Broken {
    fn kind(&self) -> TierKind {
        self.inner.kind()
    }
    fn place(&self) -> String {
        "broken".to_owned()
    }
    fn block_bytes(&self) -> usize {
        self.inner.block_bytes()
    }
    fn put(&self, puts: &[Put<'_>], deadline: Instant, outcomes: &mut [Stored]) {
        if self.is_full {
            outcomes.fill(Stored::Full);
        } else {
            self.inner.put(puts, deadline, outcomes);
        }
    }
    fn get(&self, gets: &mut [Get<'_>], deadline: Instant, outcomes: &mut [Loaded]) {
        self.inner.get(gets, deadline, outcomes);
        for get in gets {
            (self.how)(get.into);
        }
    }
    fn contains(
        &self,
        keys: &[ChunkHash],
        deadline: Instant,
        present: &mut [bool],
    ) -> Result<(), TierError> {
        self.inner.contains(keys, deadline, present)
    }
    fn remove(&self, keys: &[ChunkHash], deadline: Instant) -> Result<(), TierError> {
        self.inner.remove(keys, deadline)
    }
    fn clear(&self, deadline: Instant) -> Result<(), TierError> {
        self.inner.clear(deadline)
    }
    fn usage(&self, deadline: Instant) -> Result<TierUsage, TierError> {
        self.inner.usage(deadline)
    }
    fn counters(&self) -> TierCounters {
        self.inner.counters()
    }
}

#[test]
fn wrong_bytes_are_found_and_no_hit() {
    let flips: [fn(&mut [u8]); 2] =
        [|block| block[5] ^= 1, |block| *block.last_mut().unwrap() ^= 1];
    for how in flips {
        let inner = tier(512, EvictionPolicy::Lru);
        let broken = Arc::new(Broken { inner, how, is_full: false });
        let mut config = config(WorkingSet::Blocks(64));
        config.verify = Verify::Sampled;
        let mut bench = bench(&config, broken, &never).unwrap();
        let point = ProbePoint { block: BLOCK, threads: 1, depth: 8, work: Work::Read };
        let run = bench.measure(point, 0).unwrap().unwrap();
        assert!(run.outcomes.wrong > 0 && run.outcomes.hits == 0, "{run:?}");
        assert!(run.outcomes.trouble().contains("wrong bytes"));
    }
}

#[test]
fn a_tier_that_takes_nothing_is_an_error() {
    let inner = tier(512, EvictionPolicy::Lru);
    let broken = Arc::new(Broken { inner, how: |_| (), is_full: true });
    let config = config(WorkingSet::Blocks(64));
    let mut bench = bench(&config, broken, &never).unwrap();
    let point = ProbePoint { block: BLOCK, threads: 1, depth: 8, work: Work::Read };
    let error = bench.measure(point, 0).unwrap_err();
    assert!(matches!(error, ProbeError::NothingStored { .. }), "{error}");
    assert!(error.to_string().contains("none of 64 blocks could be stored"), "{error}");
}
