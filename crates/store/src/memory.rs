//! Host memory: a slab of blocks under the policy core that the simulator's tiers use.
//!
//! Bytes are copied without the tier's lock. The policy pins a slot while it is copied, so no other
//! caller gets it. The slot's own lock is therefore never contended; the compiler needs it.
//!
//! A batch counts as a chain of chunks in token order. It is renewed from its end to its front, so
//! a chain loses its end first and the rest can still be found.

use std::fmt;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard, RwLock};
use weir_model::{Bytes, TierKind};
use weir_tier::EvictionPolicy;
use weir_tier::keyed_cache::{Batch, KeyedCache, Reservation, TierSlot};

use crate::slab::{Block, Pages, Slab, SlabError};
use crate::tally::TierTally;
use crate::tier::{
    ChunkHash, Get, Loaded, Put, Stored, Tier, TierCounters, TierError, TierFault, TierUsage,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryOptions {
    pub capacity: u32,
    pub block_bytes: usize,
    pub eviction: EvictionPolicy,
}

pub struct MemoryTier {
    options: MemoryOptions,
    cache: Mutex<KeyedCache<ChunkHash>>,
    slots: Box<[RwLock<Block>]>,
    pages: Pages,
    tally: TierTally,
}

impl fmt::Debug for MemoryTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryTier").field(&self.options).finish()
    }
}

impl MemoryTier {
    pub fn new(options: MemoryOptions) -> Result<Self, SlabError> {
        let slab = Slab::new(options.capacity, options.block_bytes)?;
        let slots = std::iter::from_fn(|| slab.take()).map(RwLock::new).collect();
        let cache = Mutex::new(KeyedCache::new(options.capacity, options.eviction));
        let pages = slab.pages().clone();
        Ok(Self { options, cache, slots, pages, tally: TierTally::default() })
    }

    pub const fn pages(&self) -> &Pages {
        &self.pages
    }

    fn cache(&self) -> MutexGuard<'_, KeyedCache<ChunkHash>> {
        self.cache.lock()
    }

    fn store(&self, put: &Put<'_>, batch: Batch) -> Stored {
        // The guard must not be held during the copy.
        let reservation = self.cache().reserve(put.key, batch);
        let slot = match reservation {
            Reservation::Reserved(slot) => slot,
            Reservation::Present | Reservation::Pending => return Stored::Present,
            Reservation::Full => return Stored::Full,
        };
        self.slots[slot as usize].write().copy_from_slice(put.bytes);
        let mut cache = self.cache();
        if !cache.commit(slot) {
            // Removed during the copy.
            cache.cancel(slot);
        }
        Stored::Stored
    }

    fn load(&self, get: &mut Get<'_>) -> Loaded {
        let pinned: Option<TierSlot> = self.cache().pin(&get.key);
        let Some(slot) = pinned else { return Loaded::Miss };
        get.into.copy_from_slice(&self.slots[slot as usize].read());
        self.cache().unpin(slot);
        Loaded::Hit
    }
}

impl Tier for MemoryTier {
    fn kind(&self) -> TierKind {
        TierKind::Host
    }

    fn place(&self) -> String {
        "host memory".to_owned()
    }

    fn block_bytes(&self) -> usize {
        self.options.block_bytes
    }

    fn put(&self, puts: &[Put<'_>], deadline: Instant, outcomes: &mut [Stored]) {
        let batch = self.cache().begin(puts.iter().map(|put| put.key));
        for (put, outcome) in puts.iter().zip(&mut *outcomes) {
            *outcome = if Instant::now() >= deadline {
                Stored::Failed(TierFault::Timeout)
            } else if put.bytes.len() == self.options.block_bytes {
                self.store(put, batch)
            } else {
                Stored::Failed(TierFault::Refused)
            };
        }
        let mut cache = self.cache();
        for put in puts.iter().rev() {
            cache.renew(&put.key);
        }
        drop(cache);
        self.tally.puts(outcomes);
    }

    fn get(&self, gets: &mut [Get<'_>], deadline: Instant, outcomes: &mut [Loaded]) {
        for (get, outcome) in gets.iter_mut().zip(&mut *outcomes) {
            *outcome = if Instant::now() >= deadline {
                Loaded::Failed(TierFault::Timeout)
            } else if get.into.len() == self.options.block_bytes {
                self.load(get)
            } else {
                Loaded::Failed(TierFault::Refused)
            };
        }
        let mut cache = self.cache();
        for (get, _) in gets.iter().zip(&*outcomes).rev().filter(|(_, o)| **o == Loaded::Hit) {
            cache.touch(&get.key);
        }
        drop(cache);
        self.tally.gets(outcomes);
    }

    fn contains(
        &self,
        keys: &[ChunkHash],
        _deadline: Instant,
        present: &mut [bool],
    ) -> Result<(), TierError> {
        let mut cache = self.cache();
        for (key, present) in keys.iter().zip(present).rev() {
            *present = cache.renew(key);
        }
        Ok(())
    }

    fn remove(&self, keys: &[ChunkHash], _deadline: Instant) -> Result<(), TierError> {
        let mut cache = self.cache();
        for key in keys {
            if let Some(slot) = cache.remove(key) {
                cache.unpin(slot);
            }
        }
        Ok(())
    }

    fn clear(&self, _deadline: Instant) -> Result<(), TierError> {
        let mut cache = self.cache();
        let mut next = 0;
        while let Some(slot) = cache.remove_next(next) {
            cache.unpin(slot);
            next = slot + 1;
        }
        cache.forget_ghosts();
        Ok(())
    }

    fn usage(&self, _deadline: Instant) -> Result<TierUsage, TierError> {
        let cache = self.cache();
        let block = self.options.block_bytes as u64;
        Ok(TierUsage {
            chunks: u64::from(cache.blocks()),
            used: Bytes(u64::from(cache.used()) * block),
            capacity: Some(Bytes(u64::from(self.options.capacity) * block)),
            evicted_chunks: cache.evicted(),
        })
    }

    fn counters(&self) -> TierCounters {
        self.tally.read()
    }
}
