//! One thread of a measurement: makes batches, times the tier's calls, and checks the loads.
//!
//! Only the calls are timed. Drawing keys, stamping blocks and comparing loads happen outside, and
//! a point reports the share of that time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use weir_store::{Block, ChunkHash, Get, Loaded, Put, Slab, Stored, Tier, TierError};
use weir_workload::RandomStream;

use crate::config::{ProbeConfig, ProbePoint, Verify, Work};
use crate::content::Pattern;
use crate::cpu;
use crate::keys::{Draws, KeySpace};
use crate::tally::WorkerTally;
use crate::trace::Trace;

pub(crate) struct Lap<'a> {
    pub(crate) tier: &'a dyn Tier,
    pub(crate) pattern: &'a Pattern,
    pub(crate) point: ProbePoint,
    pub(crate) task: LapTask<'a>,
    pub(crate) deadline: Duration,
    /// None for a tier that keeps nothing.
    pub(crate) verify: Option<Verify>,
    /// Duration, for every thread from its own start.
    pub(crate) time: Duration,
    /// Remaining blocks of all threads.
    pub(crate) budget: &'a AtomicU64,
    /// Start of the next batch of new keys, or the next request of a trace.
    pub(crate) next: AtomicU64,
    pub(crate) stop: &'a (dyn Fn() -> bool + Sync),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum LapTask<'a> {
    /// Stores missing blocks among the first ones of the working set.
    Fill(KeySpace, u64),
    Keys(KeySpace, u64),
    Trace(&'a Trace),
}

impl Lap<'_> {
    fn is_over(&self, start: Instant) -> bool {
        (self.stop)() || start.elapsed() >= self.time
    }

    /// Takes blocks from the budget; false when it is spent.
    fn may_ask(&self, blocks: u64) -> bool {
        let take = |left: u64| (left > 0).then(|| left.saturating_sub(blocks));
        self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn claim(&self, end: u64) -> Option<std::ops::Range<u64>> {
        let depth = u64::from(self.point.depth);
        let from = self.next.fetch_add(depth, Ordering::Relaxed);
        (from < end).then(|| from..(from + depth).min(end))
    }
}

/// A thread's state, kept from lap to lap.
#[derive(Debug)]
pub(crate) struct ProbeWorker {
    loaded: Vec<Block>,
    stored: Vec<Block>,
    keys: Vec<ChunkHash>,
    missing: Vec<ChunkHash>,
    fetched: Vec<Loaded>,
    outcomes: Vec<Stored>,
    present: Vec<bool>,
    draws: Draws,
    check: RandomStream,
    pub(crate) tally: WorkerTally,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct WorkerPlace {
    /// Blocks of the working set.
    pub(crate) blocks: u64,
    pub(crate) thread: u32,
    pub(crate) repeat: u32,
}

impl ProbeWorker {
    /// None if the slab has too few buffers.
    pub(crate) fn new(
        config: &ProbeConfig,
        point: &ProbePoint,
        pattern: &Pattern,
        slab: &Arc<Slab>,
        place: WorkerPlace,
    ) -> Option<Self> {
        let depth = point.depth as usize;
        let take = || -> Option<Vec<Block>> {
            let mut blocks: Vec<Block> = (0..depth).map(|_| slab.take()).collect::<Option<_>>()?;
            for block in &mut blocks {
                pattern.lay(block);
            }
            Some(blocks)
        };
        let WorkerPlace { blocks, thread, repeat } = place;
        Some(Self {
            loaded: take()?,
            stored: take()?,
            keys: Vec::with_capacity(depth),
            missing: Vec::with_capacity(depth),
            fetched: vec![Loaded::Miss; depth],
            outcomes: vec![Stored::Full; depth],
            present: vec![false; depth],
            draws: Draws::new(config.seed, config.draw, blocks, thread, repeat),
            check: RandomStream::new(config.seed, "probe check", u64::from(thread)),
            tally: WorkerTally::default(),
        })
    }

    /// Works until the lap is over. An error is from a call that is not about single blocks.
    pub(crate) fn lap(&mut self, lap: &Lap<'_>) -> Result<(), TierError> {
        let (start, cpu) = (Instant::now(), cpu::of_thread());
        let done = self.batches(lap, start);
        self.tally.wall += start.elapsed();
        self.tally.cpu += cpu::of_thread() - cpu;
        done
    }

    fn batches(&mut self, lap: &Lap<'_>, start: Instant) -> Result<(), TierError> {
        while !lap.is_over(start) {
            let goes_on = match lap.task {
                LapTask::Fill(keys, blocks) => self.fill(lap, keys, blocks)?,
                LapTask::Trace(trace) => self.request(lap, trace, start),
                LapTask::Keys(fresh, blocks) => match lap.point.work {
                    Work::Write => self.store_new(lap, fresh, blocks),
                    Work::Mixed(share) if !self.draws.chance(share) => {
                        self.store_new(lap, fresh, blocks)
                    }
                    work => self.draw(lap, work == Work::Engine),
                },
            };
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    fn fill(&mut self, lap: &Lap<'_>, keys: KeySpace, blocks: u64) -> Result<bool, TierError> {
        let Some(places) = lap.claim(blocks) else { return Ok(false) };
        self.keys.clear();
        self.keys.extend(places.map(|place| keys.key(place)));
        let present = &mut self.present[..self.keys.len()];
        lap.tier.contains(&self.keys, Instant::now() + lap.deadline, present)?;
        self.missing.clear();
        let held = self.keys.iter().zip(&*present);
        self.missing.extend(held.filter(|(_, held)| !**held).map(|(key, _)| *key));
        self.tally.outcomes.present += (self.keys.len() - self.missing.len()) as u64;
        self.put(lap);
        Ok(true)
    }

    fn store_new(&mut self, lap: &Lap<'_>, fresh: KeySpace, blocks: u64) -> bool {
        if !lap.may_ask(u64::from(lap.point.depth)) {
            return false;
        }
        let Some(places) = lap.claim(blocks) else { return false };
        self.missing.clear();
        self.missing.extend(places.map(|place| fresh.key(place)));
        self.put(lap);
        true
    }

    fn draw(&mut self, lap: &Lap<'_>, stores_missing: bool) -> bool {
        if !lap.may_ask(u64::from(lap.point.depth)) {
            return false;
        }
        self.draws.batch(lap.point.depth, &mut self.keys);
        self.get(lap);
        if stores_missing {
            self.collect_missing();
            self.put(lap);
        }
        true
    }

    /// Replays one request: loads its chunks up to the first missing one, stores the rest.
    fn request(&mut self, lap: &Lap<'_>, trace: &Trace, start: Instant) -> bool {
        let place = lap.next.fetch_add(1, Ordering::Relaxed);
        let Some(chunks) = trace.request(place) else { return false };
        if !lap.may_ask(chunks.len() as u64) {
            return false;
        }
        let mut missed = false;
        for part in chunks.chunks(lap.point.depth as usize) {
            if lap.is_over(start) {
                break;
            }
            if missed {
                self.tally.outcomes.behind_miss += part.len() as u64;
                self.missing.clear();
                self.missing.extend_from_slice(part);
            } else {
                self.keys.clear();
                self.keys.extend_from_slice(part);
                self.get(lap);
                self.collect_missing();
                missed = !self.missing.is_empty();
            }
            self.put(lap);
        }
        true
    }

    /// Keeps the keys of the last loads that missed.
    fn collect_missing(&mut self) {
        let outcomes = self.keys.iter().zip(&self.fetched);
        let absent =
            outcomes.filter(|(_, outcome)| matches!(outcome, Loaded::Miss | Loaded::Corrupt));
        self.missing.clear();
        self.missing.extend(absent.map(|(key, _)| *key));
    }

    fn get(&mut self, lap: &Lap<'_>) {
        let count = self.keys.len();
        let fetched = &mut self.fetched[..count];
        let buffers = self.loaded.iter_mut().map(|block| &mut **block);
        let mut gets: Vec<Get<'_>> =
            self.keys.iter().zip(buffers).map(|(key, into)| Get { key: *key, into }).collect();
        let (began, cpu) = (Instant::now(), cpu::of_thread());
        lap.tier.get(&mut gets, began + lap.deadline, fetched);
        let (took, used) = (began.elapsed(), cpu::of_thread() - cpu);
        let mut moved = 0;
        for (get, outcome) in gets.iter().zip(fetched) {
            let is_hit = *outcome == Loaded::Hit;
            if is_hit
                && let Some(verify) = lap.verify
                && !lap.pattern.is_block(&get.key, get.into, verify, &mut self.check)
            {
                self.tally.outcomes.wrong += 1;
                continue;
            }
            moved += u64::from(is_hit);
            self.tally.outcomes.fetched(*outcome);
        }
        self.tally.cpu_inside += used;
        self.tally.reads.batch(count as u64, moved, took);
    }

    fn put(&mut self, lap: &Lap<'_>) {
        let count = self.missing.len();
        if count == 0 {
            return;
        }
        for (key, block) in self.missing.iter().zip(self.stored.iter_mut()) {
            Pattern::stamp(key, block);
        }
        let outcomes = &mut self.outcomes[..count];
        let blocks = self.stored.iter().map(|block| &**block);
        let puts: Vec<Put<'_>> =
            self.missing.iter().zip(blocks).map(|(key, bytes)| Put { key: *key, bytes }).collect();
        let (began, cpu) = (Instant::now(), cpu::of_thread());
        lap.tier.put(&puts, began + lap.deadline, outcomes);
        let (took, used) = (began.elapsed(), cpu::of_thread() - cpu);
        let mut moved = 0;
        for outcome in outcomes {
            moved += u64::from(*outcome == Stored::Stored);
            self.tally.outcomes.stored(*outcome);
        }
        self.tally.cpu_inside += used;
        self.tally.writes.batch(count as u64, moved, took);
    }
}
