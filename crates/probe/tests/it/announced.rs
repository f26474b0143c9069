//! Expected duration of a session, on a tier whose lookups cost as much as loads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_model::{Bytes, TierKind};
use weir_probe::config::ProbeConfig;
use weir_probe::origin::TierOrigin;
use weir_probe::session::{Baselines, Opened, ProbeSession, ProbeStep, Subject};
use weir_probe::{BlockSize, PointLimits, ProbeError, ProbePoint, Verify, Work, WorkingSet};
use weir_store::{
    ChunkHash, Get, Loaded, MemoryOptions, MemoryTier, Put, Slab, Stored, Tier, TierCounters,
    TierError, TierUsage,
};
use weir_tier::EvictionPolicy;
use weir_workload::config::Draw;

/// Host memory with a delay per block and per looked-up key.
#[derive(Debug)]
struct Slow(MemoryTier);

fn take(blocks: usize, each: Duration) {
    std::thread::sleep(each * blocks as u32);
}

impl Tier for Slow {
    fn kind(&self) -> TierKind {
        self.0.kind()
    }
    fn place(&self) -> String {
        "slow".to_owned()
    }
    fn block_bytes(&self) -> usize {
        self.0.block_bytes()
    }
    fn put(&self, puts: &[Put<'_>], deadline: Instant, outcomes: &mut [Stored]) {
        take(puts.len(), Duration::from_millis(3));
        self.0.put(puts, deadline, outcomes);
    }
    fn get(&self, gets: &mut [Get<'_>], deadline: Instant, outcomes: &mut [Loaded]) {
        take(gets.len(), Duration::from_millis(2));
        self.0.get(gets, deadline, outcomes);
    }
    fn contains(
        &self,
        keys: &[ChunkHash],
        deadline: Instant,
        present: &mut [bool],
    ) -> Result<(), TierError> {
        take(keys.len(), Duration::from_millis(4));
        self.0.contains(keys, deadline, present)
    }
    fn remove(&self, keys: &[ChunkHash], deadline: Instant) -> Result<(), TierError> {
        take(keys.len(), Duration::from_millis(1));
        self.0.remove(keys, deadline)
    }
    fn clear(&self, deadline: Instant) -> Result<(), TierError> {
        self.0.clear(deadline)
    }
    fn usage(&self, deadline: Instant) -> Result<TierUsage, TierError> {
        self.0.usage(deadline)
    }
    fn counters(&self) -> TierCounters {
        self.0.counters()
    }
}

/// Its comparison runs take this long to prepare.
struct SlowSubject(Duration);

impl Subject for SlowSubject {
    fn open(
        &mut self,
        block: Bytes,
        _threads: u32,
        _depth: u32,
        _slab: &Arc<Slab>,
    ) -> Result<Opened, ProbeError> {
        let eviction = EvictionPolicy::Lru;
        let options = MemoryOptions { capacity: 512, block_bytes: block.0 as usize, eviction };
        let tier = Arc::new(Slow(MemoryTier::new(options)?));
        Ok(Opened { tier, server: None, origin: TierOrigin::MEMORY, cold: None, at_stake: None })
    }

    fn baselines(&mut self, _point: &ProbePoint) -> Result<Baselines, ProbeError> {
        std::thread::sleep(self.0);
        Ok(Baselines::Memory)
    }
}

fn config(working: u64) -> ProbeConfig {
    let bytes = Bytes(64 << 10);
    ProbeConfig {
        blocks: vec![BlockSize { bytes, tokens: None }],
        threads: vec![1, 2],
        depths: vec![1, 4],
        works: vec![Work::Write, Work::Read],
        working_set: WorkingSet::Blocks(working),
        draw: Draw::Uniform,
        limits: PointLimits {
            duration: Duration::from_millis(100),
            warmup: Duration::from_millis(10),
            operations: None,
        },
        repeats: 2,
        deadline: Duration::from_secs(10),
        verify: Verify::Sampled,
        pin: None,
        seed: 5,
    }
}

/// Expected within 30 % of the real time; on a busy machine, an attempt may fail now and then.
fn announces(config: &ProbeConfig, differential: bool, baselines: Duration, least: f64) {
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (mut announced, mut began) = (None, Instant::now());
        let mut step = |step: ProbeStep<'_>| {
            if let Some(expected) = step.expected {
                (announced, began) = (Some(expected.as_secs_f64()), Instant::now());
            }
        };
        let mut subject = SlowSubject(baselines);
        let session =
            ProbeSession::new(config, &mut subject, &[], differential, &|| false, &mut step);
        session.run().unwrap();
        let (announced, took) = (announced.unwrap(), began.elapsed().as_secs_f64());
        assert!(took > least, "{took}");
        seen.push((announced, took));
        if (announced / took - 1.0).abs() <= 0.3 {
            return;
        }
    }
    panic!("announced and taken, seconds: {seen:?}");
}

#[test]
fn questions_and_filling_are_part_of_the_announced_time() {
    // The measured time is the smaller part.
    announces(&config(64), false, Duration::ZERO, 2.0 * 16.0 * 0.11);
}

#[test]
fn what_differential_runs_need_is_part_of_the_announced_time() {
    // Prepared for loads and for stores, it takes about half of the session.
    announces(&config(8), true, Duration::from_secs(3), 2.0 * 3.0);
}
