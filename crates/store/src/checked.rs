//! Checksums for tiers whose layout has no room for them, kept in memory and compared at loads.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use weir_model::TierKind;
use weir_tier::EvictionPolicy;
use weir_tier::keyed_cache::{KeyedCache, Reservation};
use xxhash_rust::xxh3::xxh3_64;

use crate::tally::TierTally;
use crate::tier::{ChunkHash, Get, Loaded, Put, Stored, Tier, TierCounters, TierError, TierUsage};

/// A tier that compares loaded blocks with what was put. A differing block is [`Loaded::Corrupt`]
/// and removed from the tier. A block with a forgotten or unknown checksum is passed on and counted
/// as [`Checked::unverified`].
pub struct Checked<T> {
    inner: T,
    sums: Mutex<Sums>,
    unverified: AtomicU64,
    tally: TierTally,
}

impl<T: fmt::Debug> fmt::Debug for Checked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Checksums of the last blocks put, in storage allocated once.
#[derive(Debug)]
struct Sums {
    names: KeyedCache<ChunkHash>,
    known: Box<[Known]>,
}

/// Possible checksums of a block. The same chunk computed twice need not have the same bytes, so
/// during a put, or after a failed one, the tier may hold the old or the new block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Known {
    /// More than two, or none.
    #[default]
    Nothing,
    One(u64),
    Either(u64, u64),
}

impl Known {
    fn allows(self, sum: u64) -> bool {
        match self {
            Self::Nothing => true,
            Self::One(one) => sum == one,
            Self::Either(one, other) => sum == one || sum == other,
        }
    }

    fn with(self, sum: u64) -> Self {
        match self {
            known if known.allows(sum) => known,
            Self::One(one) => Self::Either(one, sum),
            Self::Nothing | Self::Either(..) => Self::Nothing,
        }
    }

    fn without(self, sum: u64) -> Self {
        match self {
            Self::Either(one, other) if other == sum => Self::One(one),
            Self::Either(one, other) if one == sum => Self::One(other),
            known => known,
        }
    }
}

impl Sums {
    fn entry(&mut self, key: &ChunkHash) -> Option<&mut Known> {
        let slot = self.names.pin(key)?;
        self.names.unpin(slot);
        self.names.touch(key);
        Some(&mut self.known[slot as usize])
    }

    fn putting(&mut self, key: ChunkHash, sum: u64) {
        if let Some(known) = self.entry(&key) {
            *known = known.with(sum);
        }
    }

    /// Unless the block was stored, an earlier one may be another writer's.
    fn put(&mut self, key: ChunkHash, sum: u64, outcome: Stored) {
        if outcome == Stored::Stored {
            let batch = self.names.begin([]);
            if let Reservation::Reserved(slot) = self.names.reserve(key, batch) {
                self.names.commit(slot);
            }
            if let Some(known) = self.entry(&key) {
                *known = Known::One(sum);
            }
        } else if let Some(known) = self.entry(&key)
            && matches!(outcome, Stored::Present | Stored::Full)
        {
            *known = known.without(sum);
        }
    }

    fn recall(&mut self, key: &ChunkHash) -> Known {
        self.entry(key).copied().unwrap_or_default()
    }
}

impl<T: Tier> Checked<T> {
    /// About 150 bytes per block; `blocks` should be the tier's capacity.
    pub fn new(inner: T, blocks: u32) -> Self {
        let names = KeyedCache::new(blocks, EvictionPolicy::Lru);
        let known = vec![Known::Nothing; blocks as usize].into();
        let sums = Mutex::new(Sums { names, known });
        Self { inner, sums, unverified: AtomicU64::new(0), tally: TierTally::default() }
    }

    pub const fn inner(&self) -> &T {
        &self.inner
    }

    /// Blocks loaded without a checksum to compare with.
    pub fn unverified(&self) -> u64 {
        self.unverified.load(Ordering::Relaxed)
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock()
    }

    fn count<R>(&self, result: Result<R, TierError>) -> Result<R, TierError> {
        if let Err(error) = &result {
            self.tally.fault(error.fault);
        }
        result
    }

    fn judge(&self, get: &Get<'_>, deadline: Instant) -> Loaded {
        // The guard must not live through the hashing.
        let known = self.sums().recall(&get.key);
        if known == Known::Nothing {
            self.unverified.fetch_add(1, Ordering::Relaxed);
            return Loaded::Hit;
        }
        if known.allows(xxh3_64(get.into)) {
            return Loaded::Hit;
        }
        // The next load must miss. If the removal fails, the checksum is still there for later
        // loads and for those that hold the block already.
        if let Err(error) = self.inner.remove(&[get.key], deadline) {
            self.tally.fault(error.fault);
        }
        Loaded::Corrupt
    }
}

impl<T: Tier> Tier for Checked<T> {
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
        // Remembered first: another thread may load a block as soon as it is stored. Hashing twice
        // is cheap; a list would be an allocation.
        let whole = |put: &&Put<'_>| put.bytes.len() == self.inner.block_bytes();
        for put in puts.iter().filter(whole) {
            let sum = xxh3_64(put.bytes);
            self.sums().putting(put.key, sum);
        }
        self.inner.put(puts, deadline, outcomes);
        for (put, outcome) in puts.iter().zip(&*outcomes).filter(|(put, _)| whole(put)) {
            let sum = xxh3_64(put.bytes);
            self.sums().put(put.key, sum, *outcome);
        }
        self.tally.puts(outcomes);
    }

    fn get(&self, gets: &mut [Get<'_>], deadline: Instant, outcomes: &mut [Loaded]) {
        self.inner.get(gets, deadline, outcomes);
        for (get, outcome) in gets.iter().zip(&mut *outcomes) {
            if *outcome == Loaded::Hit {
                *outcome = self.judge(get, deadline);
            }
        }
        self.tally.gets(outcomes);
    }

    fn contains(
        &self,
        keys: &[ChunkHash],
        deadline: Instant,
        present: &mut [bool],
    ) -> Result<(), TierError> {
        self.count(self.inner.contains(keys, deadline, present))
    }

    fn remove(&self, keys: &[ChunkHash], deadline: Instant) -> Result<(), TierError> {
        self.count(self.inner.remove(keys, deadline))
    }

    fn clear(&self, deadline: Instant) -> Result<(), TierError> {
        self.count(self.inner.clear(deadline))
    }

    fn usage(&self, deadline: Instant) -> Result<TierUsage, TierError> {
        self.count(self.inner.usage(deadline))
    }

    fn counters(&self) -> TierCounters {
        self.tally.read()
    }

    fn problem(&self) -> Option<String> {
        self.inner.problem()
    }
}
