//! The blocks of a live tier and their slots: presence, pins and eviction by key.
//!
//! The counterpart of [`ChunkCache`](crate::chunk_cache::ChunkCache) for tiers with real bytes:
//! those know chunks by key, not by sequence, and need the *slot* of each. Both use the same
//! eviction policies.
//!
//! A slot is one place of the tier. The holder of a pin may read the slot or, with a pin from
//! [`KeyedCache::reserve`], write it; the slot is not reused before its last pin is gone. Removing
//! a block drops its key at once and its slot with the last pin, so that a tier can first erase
//! related data elsewhere (a header on a disk).
//!
//! Blocks are stored in batches, which are chains of chunks. A chain is not evicted to make room
//! for its own end, which could not be found without its front.
//!
//! Nothing allocates after [`KeyedCache::new`].

use std::collections::HashMap;
use std::hash::Hash;

use crate::config::EvictionPolicy;
use crate::order::{Order, PolicyQueue};

const NONE: u32 = u32::MAX;

/// From 0 to the capacity.
pub type TierSlot = u32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reservation {
    /// The caller writes the slot, then calls [`KeyedCache::commit`] or [`KeyedCache::cancel`].
    Reserved(TierSlot),
    Present,
    /// Another caller is storing the block now.
    Pending,
    Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    /// Remembered by the policy; has no slot.
    Ghost,
    Pending,
    Ready,
    /// Has no key, and keeps its slot until the last pin is gone.
    Doomed,
}

#[derive(Debug, Clone)]
struct Entry<K> {
    key: Option<K>,
    state: State,
    slot: TierSlot,
    pins: u32,
    queue: Option<PolicyQueue>,
    /// The last batch that stored it or found it present.
    batch: Batch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch(u64);

/// Before any batch.
const NO_BATCH: Batch = Batch(0);

#[derive(Debug, Clone)]
pub struct KeyedCache<K> {
    index: HashMap<K, u32>,
    entries: Vec<Entry<K>>,
    free_entries: Vec<u32>,
    slots: Vec<u32>,
    free_slots: Vec<TierSlot>,
    order: Order,
    policy: EvictionPolicy,
    named: u32,
    evicted: u64,
    batches: u64,
}

impl<K: Copy + Eq + Hash> KeyedCache<K> {
    pub fn new(capacity: u32, policy: EvictionPolicy) -> Self {
        // ARC remembers as many keys again in each of its two ghost queues, and one more during an
        // eviction.
        let entries = match policy {
            EvictionPolicy::Arc => capacity.saturating_mul(3).saturating_add(2),
            EvictionPolicy::Lru | EvictionPolicy::None => capacity,
        };
        let mut order = Order::new(policy, capacity);
        order.reserve(entries);
        let blank = Entry {
            key: None,
            state: State::Free,
            slot: NONE,
            pins: 0,
            queue: None,
            batch: NO_BATCH,
        };
        Self {
            // Twice the capacity: a table more than half full grows, a roomy one cleans up in
            // place.
            index: HashMap::with_capacity(entries as usize * 2 + 2),
            entries: vec![blank; entries as usize],
            free_entries: (0..entries).rev().collect(),
            slots: vec![NONE; capacity as usize],
            free_slots: (0..capacity).rev().collect(),
            order,
            policy,
            named: 0,
            evicted: 0,
            batches: 0,
        }
    }

    pub fn capacity(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Slots that are readable, being written, or waiting for their last pin.
    pub fn used(&self) -> u32 {
        self.capacity() - self.free_slots.len() as u32
    }

    /// Readable blocks and blocks being written.
    pub fn blocks(&self) -> u32 {
        self.named
    }

    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// True if the block is readable.
    pub fn contains(&self, key: &K) -> bool {
        self.ready(key).is_some()
    }

    /// Counts a use of a readable block: it becomes the most recent one, and ARC counts it as used
    /// again. True if there is one.
    pub fn touch(&mut self, key: &K) -> bool {
        let Some(index) = self.ready(key) else { return false };
        self.used_again(index);
        true
    }

    /// Makes a present block the most recent one, without counting a use. For storing or looking up
    /// a chain: renewed from its end to its front, so that the front leaves last. True if it is
    /// readable.
    pub fn renew(&mut self, key: &K) -> bool {
        let Some(index) = self.index.get(key).copied() else { return false };
        let entry = &mut self.entries[index as usize];
        if matches!(entry.state, State::Ready | State::Pending) {
            self.order.renewed(index, 1, entry.queue);
        }
        entry.state == State::Ready
    }

    /// Protects a readable block until [`KeyedCache::unpin`].
    pub fn pin(&mut self, key: &K) -> Option<TierSlot> {
        let index = self.ready(key)?;
        let entry = &mut self.entries[index as usize];
        entry.pins += 1;
        Some(entry.slot)
    }

    /// Also for the pin of [`KeyedCache::remove`].
    pub fn unpin(&mut self, slot: TierSlot) {
        let index = self.slots[slot as usize];
        let entry = &mut self.entries[index as usize];
        debug_assert!(entry.pins > 0, "a pin is given back once");
        entry.pins = entry.pins.saturating_sub(1);
        if entry.pins == 0 && entry.state == State::Doomed {
            self.release(index);
        }
    }

    /// Begins a batch of blocks to store: those already present are not evicted for the others.
    pub fn begin(&mut self, keys: impl IntoIterator<Item = K>) -> Batch {
        self.batches += 1;
        let batch = Batch(self.batches);
        for key in keys {
            if let Some(index) = self.index.get(&key) {
                self.entries[*index as usize].batch = batch;
            }
        }
        batch
    }

    /// Takes a slot for an absent block of a batch, evicting a block outside of the batch if no
    /// slot is free. The slot is pinned.
    pub fn reserve(&mut self, key: K, batch: Batch) -> Reservation {
        let known = self.index.get(&key).copied();
        match known.map(|index| self.entries[index as usize].state) {
            Some(State::Ready) => return Reservation::Present,
            Some(State::Pending) => return Reservation::Pending,
            _ => {}
        }
        if let Some(ghost) = known {
            // ARC learns first: its choice of the victim depends on it.
            self.used_again(ghost);
        }
        if self.free_slots.is_empty() && !self.evict(batch) {
            return Reservation::Full;
        }
        let Some(slot) = self.free_slots.pop() else { return Reservation::Full };
        let index = self.enter(key, slot, State::Pending, known);
        self.entries[index as usize].pins = 1;
        self.entries[index as usize].batch = batch;
        if known.is_some() {
            // A block back from a ghost list was used before (ARC's second queue).
            self.used_again(index);
        }
        self.trim_ghosts();
        Reservation::Reserved(slot)
    }

    /// Makes a reserved block readable and drops the pin. False if the block was removed meanwhile:
    /// the slot is still pinned, and must be freed with [`KeyedCache::cancel`].
    pub fn commit(&mut self, slot: TierSlot) -> bool {
        let entry = &mut self.entries[self.slots[slot as usize] as usize];
        if entry.state != State::Pending {
            return false;
        }
        entry.state = State::Ready;
        entry.pins -= 1;
        true
    }

    /// Frees a reserved slot that was not written.
    pub fn cancel(&mut self, slot: TierSlot) {
        self.doom(slot);
        self.unpin(slot);
    }

    /// Drops the key of a block. The slot of a readable one is returned and stays pinned until
    /// [`KeyedCache::unpin`]. The slot of one being written is not returned: its writer cleans up
    /// after [`KeyedCache::commit`].
    pub fn remove(&mut self, key: &K) -> Option<TierSlot> {
        let index = *self.index.get(key)?;
        self.take_name(index)
    }

    /// Drops the key of the damaged block in a slot that the caller has pinned; true if it still
    /// had one.
    pub fn doom(&mut self, slot: TierSlot) -> bool {
        let index = self.slots[slot as usize];
        let entry = &mut self.entries[index as usize];
        debug_assert!(entry.pins > 0, "only a pinned slot is surely its holder's");
        let Some(key) = entry.key.take() else { return false };
        entry.state = State::Doomed;
        entry.queue = self.order.dropped(index, 1, entry.queue);
        self.index.remove(&key);
        self.named -= 1;
        true
    }

    /// Removes the first readable block in a slot from `from` on, and the blocks being written
    /// before it, as [`KeyedCache::remove`]. For emptying a tier.
    pub fn remove_next(&mut self, from: TierSlot) -> Option<TierSlot> {
        (from..self.capacity()).find_map(|slot| {
            let index = self.slots[slot as usize];
            if index == NONE { None } else { self.take_name(index) }
        })
    }

    /// Drops all ghosts of the policy.
    pub fn forget_ghosts(&mut self) {
        for index in 0..self.entries.len() as u32 {
            if self.entries[index as usize].state == State::Ghost {
                self.forget(index);
            }
        }
    }

    /// Puts readable blocks into given slots, the most recent one last: for a tier opened with
    /// content. Those with a taken slot or a duplicate key are skipped and passed to `refused`.
    pub fn restore(
        &mut self,
        blocks: impl IntoIterator<Item = (K, TierSlot)>,
        mut refused: impl FnMut(TierSlot),
    ) {
        for (key, slot) in blocks {
            let taken = self.slots.get(slot as usize).is_none_or(|entry| *entry != NONE);
            if taken || self.index.contains_key(&key) {
                refused(slot);
            } else {
                self.enter(key, slot, State::Ready, None);
            }
        }
        let slots = &self.slots;
        self.free_slots.retain(|slot| slots[*slot as usize] == NONE);
    }

    fn take_name(&mut self, index: u32) -> Option<TierSlot> {
        let entry = &mut self.entries[index as usize];
        let slot = entry.slot;
        match entry.state {
            State::Ready => {
                entry.pins += 1;
                self.doom(slot);
                Some(slot)
            }
            State::Pending => {
                self.doom(slot);
                None
            }
            State::Free | State::Ghost | State::Doomed => None,
        }
    }

    fn ready(&self, key: &K) -> Option<u32> {
        let index = *self.index.get(key)?;
        (self.entries[index as usize].state == State::Ready).then_some(index)
    }

    fn used_again(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        entry.queue = self.order.touched(index, 1, entry.queue);
    }

    /// Gives a block its entry (its ghost's if there is one) and its place in the order.
    fn enter(&mut self, key: K, slot: TierSlot, state: State, ghost: Option<u32>) -> u32 {
        let index = ghost.unwrap_or_else(|| {
            self.free_entries.pop().expect("there are entries for all slots and all ghosts")
        });
        let entry = &mut self.entries[index as usize];
        let queue = Some(self.order.entered(index, 1, entry.queue));
        let batch = NO_BATCH;
        *entry = Entry { key: Some(key), state, slot, pins: 0, queue, batch };
        self.slots[slot as usize] = index;
        self.index.insert(key, index);
        self.named += 1;
        index
    }

    /// Evicts the policy's victim; its entry becomes a ghost or free.
    fn evict(&mut self, batch: Batch) -> bool {
        let entries = &self.entries;
        let victim = self.order.victim(|index| {
            let entry = &entries[index as usize];
            entry.pins == 0 && entry.state == State::Ready && entry.batch != batch
        });
        let Some(index) = victim.map(|victim| victim.index) else { return false };
        let entry = &mut self.entries[index as usize];
        let slot = std::mem::replace(&mut entry.slot, NONE);
        entry.state = State::Ghost;
        entry.queue = self.order.evicted(index, 1, entry.queue);
        let remembered = entry.queue.is_some();
        self.slots[slot as usize] = NONE;
        self.free_slots.push(slot);
        self.named -= 1;
        self.evicted += 1;
        if !remembered {
            self.forget(index);
        }
        true
    }

    fn trim_ghosts(&mut self) {
        if self.policy != EvictionPolicy::Arc {
            return;
        }
        while let Some((index, _)) = self.order.surplus_ghost() {
            self.forget(index);
        }
    }

    /// Frees the entry of a block without slot.
    fn forget(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        entry.queue = self.order.dropped(index, 1, entry.queue);
        entry.state = State::Free;
        if let Some(key) = entry.key.take() {
            self.index.remove(&key);
        }
        self.free_entries.push(index);
    }

    /// Frees the entry and the slot of a block without key.
    fn release(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        entry.state = State::Free;
        let slot = std::mem::replace(&mut entry.slot, NONE);
        self.slots[slot as usize] = NONE;
        self.free_slots.push(slot);
        self.free_entries.push(index);
    }
}
