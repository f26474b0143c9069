//! Checksums for tiers whose layout has no room for them: remembered here when a block is stored,
//! compared when it is loaded.

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

/// A tier whose blocks are compared with what was put. A block that is not what was put is
/// [`Loaded::Corrupt`] and removed from the tier; one that was put so long ago that its checksum
/// is forgotten, or by somebody else, is passed on and counted as [`Checked::unverified`].
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

/// The checksums of the blocks that were put last, without an allocation for any of them.
#[derive(Debug)]
struct Sums {
    names: KeyedCache<ChunkHash>,
    known: Box<[Known]>,
}

/// What a block's checksum may be. The same chunk computed twice need not have the same bytes, so
/// while a put is under way, or after it failed, the tier may hold what it had or what is put.
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

    /// A block with this checksum is being put.
    fn with(self, sum: u64) -> Self {
        match self {
            known if known.allows(sum) => known,
            Self::One(one) => Self::Either(one, sum),
            Self::Nothing | Self::Either(..) => Self::Nothing,
        }
    }

    /// A block with this checksum was not taken, because there was one.
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

    /// Only what was stored is surely ours: what was there before may be somebody else's.
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
    /// Remembers the checksums of the last `blocks` blocks, at about 150 bytes each: give the
    /// blocks that the tier can hold.
    pub fn new(inner: T, blocks: u32) -> Self {
        let names = KeyedCache::new(blocks, EvictionPolicy::Lru);
        let known = vec![Known::Nothing; blocks as usize].into();
        let sums = Mutex::new(Sums { names, known });
        Self { inner, sums, unverified: AtomicU64::new(0), tally: TierTally::default() }
    }

    pub const fn inner(&self) -> &T {
        &self.inner
    }

    /// Blocks that were loaded without a checksum to compare with.
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

    /// What a block that came really is.
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
        // The next to ask shall find nothing rather than the same again. Where that fails, and for
        // those who have loaded it already, the checksum is still there.
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
        // Remembered first: another thread may load a block as soon as it is stored. Hashed twice
        // rather than kept, because hashing is cheap and a list would be an allocation.
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
