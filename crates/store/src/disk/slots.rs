//! The slots of a disk tier: their blocks, by the policy core, and their headers.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use weir_tier::EvictionPolicy;
use weir_tier::keyed_cache::{Batch, KeyedCache, Reservation, TierSlot};

use crate::tier::ChunkHash;

use super::header::{FileLayout, Header, HeaderFile};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    pub blocks: u32,
    /// Damaged headers and headers of blocks beyond the end of the file. Their slots are free.
    pub damaged: u32,
}

/// State of a slot. The holder of its pin may use it; the cache's lock orders successive holders.
#[derive(Debug, Default)]
struct Record {
    checksum: AtomicU64,
    /// The file may hold a header that must be erased before the slot is written.
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
        // The order of use is not on disk; the order of storing is the best available. Of two
        // headers with one key the younger one counts.
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

    /// Erases a reserved slot's old header before its bytes are written.
    pub(super) fn vacate(&self, slot: TierSlot) -> io::Result<()> {
        let record = &self.records[slot as usize];
        if record.written.load(Ordering::Relaxed) {
            self.headers.erase(slot)?;
            record.written.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) fn expect(&self, slot: TierSlot, checksum: u64) {
        self.records[slot as usize].checksum.store(checksum, Ordering::Relaxed);
    }

    pub(super) fn expected(&self, slot: TierSlot) -> u64 {
        self.records[slot as usize].checksum.load(Ordering::Relaxed)
    }

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
        let erased = self.vacate(slot);
        self.cancel(slot);
        erased
    }

    pub(super) fn cancel(&self, slot: TierSlot) {
        self.cache().cancel(slot);
    }

    pub(super) fn pin(&self, key: &ChunkHash) -> Option<TierSlot> {
        self.cache().pin(key)
    }

    pub(super) fn unpin(&self, slot: TierSlot) {
        self.cache().unpin(slot);
    }

    pub(super) fn discard(&self, slot: TierSlot) -> io::Result<()> {
        let ours = self.cache().doom(slot);
        // Another reader of the same damaged block may have done it already.
        let erased = if ours { self.vacate(slot) } else { Ok(()) };
        self.unpin(slot);
        erased
    }

    pub(super) fn remove(&self, key: &ChunkHash) -> io::Result<()> {
        // The guard must not be held during the write.
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
