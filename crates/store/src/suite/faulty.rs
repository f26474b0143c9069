//! Fault injection: a tier that is late, fails, loses blocks and flips bits, to test the layers
//! above it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use weir_model::TierKind;

use crate::tally::TierTally;
use crate::tier::{
    ChunkHash, Get, Loaded, Put, Stored, Tier, TierCounters, TierError, TierFault, TierUsage,
};

/// Probabilities are from 0 to 1; values beyond are clamped. By default there are no faults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaultOptions {
    pub seed: u64,
    /// Extra time of every call, up to its deadline. At the deadline it fails with
    /// [`TierFault::Timeout`], without having reached the tier.
    pub delay: Duration,
    /// Probability that storing a block fails before it reaches the tier.
    pub put_failure: f64,
    pub get_failure: f64,
    /// Probability that a call without bytes (contains, remove, clear, usage) fails.
    pub call_failure: f64,
    pub fault: TierFault,
    /// Probability that a block is reported stored but was not.
    pub lost_write: f64,
    /// Probability that a loaded block has one bit flipped.
    pub bit_flip: f64,
    /// Probability that a loaded block ends in zeros, as after a short write.
    pub torn: f64,
    /// Probability that a loaded block is the previous one of its batch.
    pub mixed_up: f64,
}

impl Default for FaultOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            delay: Duration::ZERO,
            put_failure: 0.0,
            get_failure: 0.0,
            call_failure: 0.0,
            fault: TierFault::Io,
            lost_write: 0.0,
            bit_flip: 0.0,
            torn: 0.0,
            mixed_up: 0.0,
        }
    }
}

/// Faults that no outcome shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Injected {
    /// Blocks reported stored that were not.
    pub lost_writes: u64,
    pub changed_blocks: u64,
}

/// A tier with faults. The same seed and sequence of calls give the same faults; with several
/// threads, their order decides.
#[derive(Debug)]
pub struct Faulty<T> {
    inner: T,
    options: FaultOptions,
    dice: Mutex<Dice>,
    tally: TierTally,
}

#[derive(Debug)]
struct Dice {
    generator: Xoshiro256PlusPlus,
    injected: Injected,
}

impl Dice {
    /// Draws always, so that one probability does not shift the other faults.
    fn falls(&mut self, probability: f64) -> bool {
        // A f64 has 53 bits of mantissa.
        let drawn = (self.generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < probability
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.generator.next_u64() % limit.max(1) as u64) as usize
    }
}

impl<T: Tier> Faulty<T> {
    pub fn new(inner: T, options: FaultOptions) -> Self {
        let generator = Xoshiro256PlusPlus::seed_from_u64(options.seed);
        let dice = Mutex::new(Dice { generator, injected: Injected::default() });
        Self { inner, options, dice, tally: TierTally::default() }
    }

    pub const fn inner(&self) -> &T {
        &self.inner
    }

    pub fn injected(&self) -> Injected {
        self.dice().injected
    }

    fn dice(&self) -> parking_lot::MutexGuard<'_, Dice> {
        self.dice.lock()
    }

    /// False when the deadline passed meanwhile.
    fn delay(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        if !self.options.delay.is_zero() {
            std::thread::sleep(self.options.delay.min(left));
        }
        self.options.delay < left
    }

    fn call(&self, name: &str, deadline: Instant) -> Result<(), TierError> {
        let fault = if !self.delay(deadline) {
            TierFault::Timeout
        } else if self.dice().falls(self.options.call_failure) {
            self.options.fault
        } else {
            return Ok(());
        };
        let problem = format!("{name}: {} on purpose: lower call_failure or delay", fault.name());
        self.count(Err(TierError { fault, place: self.place(), problem }))
    }

    fn count<R>(&self, result: Result<R, TierError>) -> Result<R, TierError> {
        if let Err(error) = &result {
            self.tally.fault(error.fault);
        }
        result
    }

    fn put_some(&self, puts: &[Put<'_>], deadline: Instant, outcomes: &mut [Stored]) {
        let (mut passed, mut places) = (Vec::new(), Vec::new());
        let mut dice = self.dice();
        for (place, (put, outcome)) in puts.iter().zip(&mut *outcomes).enumerate() {
            let fails = dice.falls(self.options.put_failure);
            let lost = dice.falls(self.options.lost_write);
            if fails {
                *outcome = Stored::Failed(self.options.fault);
            } else if lost {
                dice.injected.lost_writes += 1;
                *outcome = Stored::Stored;
            } else {
                passed.push(*put);
                places.push(place);
            }
        }
        drop(dice);
        let mut results = vec![Stored::Full; passed.len()];
        self.inner.put(&passed, deadline, &mut results);
        for (place, result) in places.into_iter().zip(results) {
            outcomes[place] = result;
        }
    }

    fn spoil(&self, gets: &mut [Get<'_>], outcomes: &mut [Loaded]) {
        let mut dice = self.dice();
        for place in 0..gets.len() {
            let fails = dice.falls(self.options.get_failure);
            let flips = dice.falls(self.options.bit_flip);
            let tears = dice.falls(self.options.torn);
            let mixes = dice.falls(self.options.mixed_up);
            let (bit, from) = (dice.below(8), dice.below(gets[place].into.len()));
            if fails {
                outcomes[place] = Loaded::Failed(self.options.fault);
                continue;
            }
            if outcomes[place] != Loaded::Hit || gets[place].into.is_empty() {
                continue;
            }
            if flips {
                gets[place].into[from] ^= 1 << bit;
            }
            if tears {
                gets[place].into[from..].fill(0);
            }
            let neighbour = mixes && place > 0 && outcomes[place - 1] == Loaded::Hit;
            if neighbour {
                let (before, rest) = gets.split_at_mut(place);
                rest[0].into.copy_from_slice(before[place - 1].into);
            }
            dice.injected.changed_blocks += u64::from(flips || tears || neighbour);
        }
    }
}

impl<T: Tier> Tier for Faulty<T> {
    fn kind(&self) -> TierKind {
        self.inner.kind()
    }

    fn place(&self) -> String {
        self.inner.place()
    }

    fn block_bytes(&self) -> usize {
        self.inner.block_bytes()
    }

    fn put(&self, puts: &[Put<'_>], deadline: Instant, outcomes: &mut [Stored]) {
        if self.delay(deadline) {
            self.put_some(puts, deadline, outcomes);
        } else {
            outcomes.fill(Stored::Failed(TierFault::Timeout));
        }
        self.tally.puts(outcomes);
    }

    fn get(&self, gets: &mut [Get<'_>], deadline: Instant, outcomes: &mut [Loaded]) {
        if self.delay(deadline) {
            self.inner.get(gets, deadline, outcomes);
            self.spoil(gets, outcomes);
        } else {
            outcomes.fill(Loaded::Failed(TierFault::Timeout));
        }
        self.tally.gets(outcomes);
    }

    fn contains(
        &self,
        keys: &[ChunkHash],
        deadline: Instant,
        present: &mut [bool],
    ) -> Result<(), TierError> {
        self.call("contains", deadline)?;
        self.count(self.inner.contains(keys, deadline, present))
    }

    fn remove(&self, keys: &[ChunkHash], deadline: Instant) -> Result<(), TierError> {
        self.call("remove", deadline)?;
        self.count(self.inner.remove(keys, deadline))
    }

    fn clear(&self, deadline: Instant) -> Result<(), TierError> {
        self.call("clear", deadline)?;
        self.count(self.inner.clear(deadline))
    }

    fn usage(&self, deadline: Instant) -> Result<TierUsage, TierError> {
        self.call("usage", deadline)?;
        self.count(self.inner.usage(deadline))
    }

    fn counters(&self) -> TierCounters {
        self.tally.read()
    }

    fn problem(&self) -> Option<String> {
        self.inner.problem()
    }
}
