//! The slots of a disk tier: which block is in which, by the policy core, and what its header says.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use weir_tier::EvictionPolicy;
use weir_tier::keyed_cache::{Batch, KeyedCache, Reservation, TierSlot};

use crate::tier::ChunkHash;

use super::header::{FileLayout, Header, HeaderFile};

/// What a tier found when it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Blocks that can be read.
    pub blocks: u32,
    /// Headers that were damaged, or spoke of blocks beyond the end of the file: their slots are
    /// free.
    pub damaged: u32,
}

/// What is known of a slot. Who has the slot pinned may use it; the cache's lock is between one
/// holder and the next.
#[derive(Debug, Default)]
struct Record {
    checksum: AtomicU64,
    /// There may be a header in the file that must be erased before the slot is written.
    written: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Slots {
    cache: Mutex<KeyedCache<ChunkHash>>,
    headers: HeaderFile,
    records: Box<[Record]>,
    generation: AtomicU64,
    layout: FileLayout,
}

impl Slots {
    /// Takes over what the headers say, as far as the file of blocks reaches.
    pub(super) fn open(
        headers: HeaderFile,
        layout: FileLayout,
        blocks_len: u64,
        eviction: EvictionPolicy,
    ) -> io::Result<(Self, Recovered)> {
        let mut found: Vec<Header> = Vec::new();
        let mut recovered = Recovered::default();
        let mut bad: Vec<TierSlot> = Vec::new();
        headers.scan(&layout, |slot, header| {
            let whole = |header: &Header| {
                header.length == layout.block_bytes
                    && layout.offset(slot) + header.length <= blocks_len
            };
            match header.filter(whole) {
                Some(header) => found.push(header),
                None => bad.push(slot),
            }
        })?;
        // The order of use is not kept on disk; that of storing is the best there is. Of two
        // headers with one name the younger is the one to keep.
        found.sort_unstable_by_key(|header| (header.generation, header.slot));
        let generation = found.last().map_or(0, |header| header.generation);
        let mut cache = KeyedCache::new(layout.slots, eviction);
        let records: Box<[Record]> =
            std::iter::repeat_with(Record::default).take(layout.slots as usize).collect();
        for header in &found {
            let record = &records[header.slot as usize];
            record.checksum.store(header.checksum, Ordering::Relaxed);
            record.written.store(true, Ordering::Relaxed);
        }
        found.reverse();
        found.dedup_by_key(|header| header.key);
        found.reverse();
        cache.restore(found.iter().map(|header| (header.key, header.slot)), |slot| bad.push(slot));
        recovered.blocks = cache.blocks();
        recovered.damaged = bad.len() as u32;
        for slot in bad {
            headers.erase(slot)?;
            records[slot as usize].written.store(false, Ordering::Relaxed);
        }
        let generation = AtomicU64::new(generation);
        let cache = Mutex::new(cache);
        Ok((Self { cache, headers, records, generation, layout }, recovered))
    }

    pub(super) const fn layout(&self) -> &FileLayout {
        &self.layout
    }

    pub(super) fn cache(&self) -> MutexGuard<'_, KeyedCache<ChunkHash>> {
        self.cache.lock()
    }

    pub(super) fn reserve(&self, key: ChunkHash, batch: Batch) -> Reservation {
        self.cache().reserve(key, batch)
    }

    /// Readies a reserved slot for its bytes: what was there before is no block any more.
    pub(super) fn vacate(&self, slot: TierSlot) -> io::Result<()> {
        let record = &self.records[slot as usize];
        if record.written.load(Ordering::Relaxed) {
            self.headers.erase(slot)?;
            record.written.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Remembers the checksum of what is being written to a reserved slot.
    pub(super) fn expect(&self, slot: TierSlot, checksum: u64) {
        self.records[slot as usize].checksum.store(checksum, Ordering::Relaxed);
    }

    /// The checksum of what a pinned slot should hold.
    pub(super) fn expected(&self, slot: TierSlot) -> u64 {
        self.records[slot as usize].checksum.load(Ordering::Relaxed)
    }

    /// The bytes of a reserved slot are written: its block can be read from now on.
    pub(super) fn commit(&self, slot: TierSlot, key: ChunkHash) -> io::Result<()> {
        let record = &self.records[slot as usize];
        let header = Header {
            key,
            length: self.layout.block_bytes,
            checksum: self.expected(slot),
            generation: self.generation.fetch_add(1, Ordering::Relaxed) + 1,
            slot,
        };
        record.written.store(true, Ordering::Relaxed);
        if let Err(error) = self.headers.write(&header) {
            self.cancel(slot);
            return Err(error);
        }
        if self.cache().commit(slot) {
            return Ok(());
        }
        // Removed while it was written.
        let erased = self.vacate(slot);
        self.cancel(slot);
        erased
    }

    /// The bytes of a reserved slot were not written.
    pub(super) fn cancel(&self, slot: TierSlot) {
        self.cache().cancel(slot);
    }

    pub(super) fn pin(&self, key: &ChunkHash) -> Option<TierSlot> {
        self.cache().pin(key)
    }

    pub(super) fn unpin(&self, slot: TierSlot) {
        self.cache().unpin(slot);
    }

    /// A pinned slot does not hold what it should: nobody shall find it again.
    pub(super) fn discard(&self, slot: TierSlot) -> io::Result<()> {
        let ours = self.cache().doom(slot);
        // Another reader of the same damaged block may have done it already.
        let erased = if ours { self.vacate(slot) } else { Ok(()) };
        self.unpin(slot);
        erased
    }

    pub(super) fn remove(&self, key: &ChunkHash) -> io::Result<()> {
        // The guard must not live through the write.
        let removed = self.cache().remove(key);
        let Some(slot) = removed else { return Ok(()) };
        let erased = self.vacate(slot);
        self.unpin(slot);
        erased
    }

    /// Removes blocks until none is left or the deadline passes; true when none is left.
    pub(super) fn clear(&self, deadline: Instant) -> io::Result<bool> {
        let mut next = 0;
        loop {
            let removed = self.cache().remove_next(next);
            let Some(slot) = removed else { break };
            let erased = self.vacate(slot);
            self.unpin(slot);
            erased?;
            next = slot + 1;
            if Instant::now() >= deadline && next < self.layout.slots {
                return Ok(false);
            }
        }
        self.cache().forget_ghosts();
        Ok(true)
    }
}
