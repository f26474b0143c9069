//! The keyed cache against a plain one that searches lists, operation by operation, for every
//! policy.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_tier::EvictionPolicy;
use weir_tier::keyed_cache::{Batch, KeyedCache, Reservation, TierSlot};

#[derive(Debug, Clone)]
enum Action {
    /// A batch with these among its keys begins.
    Begin(Vec<u8>),
    Reserve(u8),
    /// The n-th store in flight arrives, or fails.
    Settle(usize, bool),
    Pin(u8),
    /// The n-th pin is released.
    Unpin(usize),
    Touch(u8),
    Renew(u8),
    Remove(u8),
    /// The n-th pinned block is found damaged, and its pin released.
    Damaged(usize),
    Clear,
}

fn action() -> impl Strategy<Value = Action> {
    let key = 0_u8..14;
    prop_oneof![
        3 => prop::collection::vec(key.clone(), 0..4).prop_map(Action::Begin),
        8 => key.clone().prop_map(Action::Reserve),
        7 => (0_usize..4, prop::bool::weighted(0.85)).prop_map(|(n, ok)| Action::Settle(n, ok)),
        3 => key.clone().prop_map(Action::Pin),
        3 => (0_usize..4).prop_map(Action::Unpin),
        4 => key.clone().prop_map(Action::Touch),
        2 => key.clone().prop_map(Action::Renew),
        2 => key.prop_map(Action::Remove),
        1 => (0_usize..4).prop_map(Action::Damaged),
        1 => Just(Action::Clear),
    ]
}

#[derive(Debug, Clone, Default)]
struct Block {
    ready: bool,
    pins: u32,
    batch: u32,
}

/// Queues of keys, oldest first; knows which slots exist, but not their blocks.
struct Plain {
    blocks: BTreeMap<u8, Block>,
    /// Slots of blocks without key that are still pinned.
    doomed: BTreeMap<TierSlot, u32>,
    once: Vec<u8>,
    again: Vec<u8>,
    ghost_once: Vec<u8>,
    ghost_again: Vec<u8>,
    target: f64,
    capacity: usize,
    policy: EvictionPolicy,
    evicted: u64,
}

impl Plain {
    fn new(capacity: usize, policy: EvictionPolicy) -> Self {
        Self {
            blocks: BTreeMap::new(),
            doomed: BTreeMap::new(),
            once: Vec::new(),
            again: Vec::new(),
            ghost_once: Vec::new(),
            ghost_again: Vec::new(),
            target: 0.0,
            capacity,
            policy,
            evicted: 0,
        }
    }

    fn forget(&mut self, key: u8) {
        for queue in [&mut self.once, &mut self.again, &mut self.ghost_once, &mut self.ghost_again]
        {
            queue.retain(|other| *other != key);
        }
    }

    fn touch(&mut self, key: u8) {
        let arc = self.policy == EvictionPolicy::Arc;
        let used_again = self.again.contains(&key) || (arc && self.once.contains(&key));
        self.forget(key);
        if used_again { self.again.push(key) } else { self.once.push(key) }
    }

    fn renew(&mut self, key: u8) {
        let queue = if self.once.contains(&key) { &mut self.once } else { &mut self.again };
        queue.retain(|other| *other != key);
        queue.push(key);
    }

    /// Megiddo and Modha's cases II and III: a remembered key moves the target.
    fn learn(&mut self, key: u8) -> bool {
        let (one, two) = (self.ghost_once.len() as f64, self.ghost_again.len() as f64);
        if self.ghost_once.contains(&key) {
            self.target = (self.target + (two / one).max(1.0)).min(self.capacity as f64);
            true
        } else if self.ghost_again.contains(&key) {
            self.target = (self.target - (one / two).max(1.0)).max(0.0);
            true
        } else {
            false
        }
    }

    fn evict(&mut self, batch: u32) -> bool {
        let may_go = |queue: &[u8]| {
            queue.iter().copied().find(|key| {
                let block = &self.blocks[key];
                block.ready && block.pins == 0 && block.batch != batch
            })
        };
        let (once, again) = (may_go(&self.once), may_go(&self.again));
        let key = match self.policy {
            EvictionPolicy::None => None,
            EvictionPolicy::Lru => once,
            EvictionPolicy::Arc if self.once.len() >= self.target as usize => once.or(again),
            EvictionPolicy::Arc => again.or(once),
        };
        let Some(key) = key else { return false };
        let was_once = self.once.contains(&key);
        self.forget(key);
        self.blocks.remove(&key);
        self.evicted += 1;
        if self.policy == EvictionPolicy::Arc {
            if was_once { self.ghost_once.push(key) } else { self.ghost_again.push(key) }
        }
        true
    }

    /// True when the key was given a slot.
    fn reserve(&mut self, key: u8, batch: u32) -> bool {
        let known = self.learn(key);
        if known {
            // It is the most recent ghost if there is no room for it.
            let once = self.ghost_once.contains(&key);
            let ghosts = if once { &mut self.ghost_once } else { &mut self.ghost_again };
            ghosts.retain(|other| *other != key);
            ghosts.push(key);
        }
        if self.blocks.len() + self.doomed.len() == self.capacity && !self.evict(batch) {
            return false;
        }
        self.forget(key);
        if known {
            self.again.push(key);
        } else {
            self.once.push(key);
        }
        self.blocks.insert(key, Block { ready: false, pins: 1, batch });
        for ghosts in [&mut self.ghost_once, &mut self.ghost_again] {
            while ghosts.len() > self.capacity {
                ghosts.remove(0);
            }
        }
        true
    }

    /// Drops the key of a block in `slot`, with `pins` left on the slot.
    fn doom(&mut self, key: u8, slot: TierSlot, pins: u32) {
        self.forget(key);
        self.blocks.remove(&key);
        if pins > 0 {
            self.doomed.insert(slot, pins);
        }
    }
}

/// Both caches, and their stores in flight.
struct Pair {
    ours: KeyedCache<u8>,
    plain: Plain,
    stores: Vec<(u8, TierSlot)>,
    pins: Vec<(u8, TierSlot)>,
    /// The current batch, and its number in the plain cache.
    batch: (Batch, u32),
}

impl Pair {
    fn apply(&mut self, action: &Action) -> Result<(), TestCaseError> {
        match action {
            Action::Begin(keys) => {
                self.batch = (self.ours.begin(keys.iter().copied()), self.batch.1 + 1);
                for key in keys {
                    if let Some(block) = self.plain.blocks.get_mut(key) {
                        block.batch = self.batch.1;
                    }
                }
            }
            Action::Reserve(key) => self.reserve(*key)?,
            Action::Settle(n, arrived) if *n < self.stores.len() => {
                let (key, slot) = self.stores.remove(*n);
                self.settle(key, slot, *arrived)?;
            }
            Action::Pin(key) => {
                let slot = self.ours.pin(key);
                let block = self.plain.blocks.get_mut(key).filter(|block| block.ready);
                prop_assert_eq!(slot.is_some(), block.is_some());
                if let (Some(slot), Some(block)) = (slot, block) {
                    block.pins += 1;
                    self.pins.push((*key, slot));
                }
            }
            Action::Unpin(n) if *n < self.pins.len() => {
                let (key, slot) = self.pins.remove(*n);
                self.unpin(key, slot);
            }
            Action::Touch(key) => {
                let ready = self.plain.blocks.get(key).is_some_and(|block| block.ready);
                prop_assert_eq!(self.ours.touch(key), ready);
                if ready {
                    self.plain.touch(*key);
                }
            }
            Action::Renew(key) => {
                let block = self.plain.blocks.get(key);
                let ready = block.is_some_and(|block| block.ready);
                if block.is_some() {
                    self.plain.renew(*key);
                }
                prop_assert_eq!(self.ours.renew(key), ready);
            }
            Action::Remove(key) => {
                let slot = self.ours.remove(key);
                self.removed(*key, slot)?;
                if let Some(slot) = slot {
                    self.ours.unpin(slot);
                }
            }
            Action::Damaged(n) if *n < self.pins.len() => {
                let (key, slot) = self.pins.remove(*n);
                let named = !self.plain.doomed.contains_key(&slot);
                prop_assert_eq!(self.ours.doom(slot), named);
                if named {
                    let pins = self.plain.blocks[&key].pins;
                    self.plain.doom(key, slot, pins);
                }
                self.unpin(key, slot);
            }
            Action::Clear => self.clear()?,
            Action::Settle(..) | Action::Unpin(_) | Action::Damaged(_) => {}
        }
        Ok(())
    }

    fn reserve(&mut self, key: u8) -> Result<(), TestCaseError> {
        let outcome = self.ours.reserve(key, self.batch.0);
        match self.plain.blocks.get(&key).map(|block| block.ready) {
            Some(true) => prop_assert_eq!(outcome, Reservation::Present),
            Some(false) => prop_assert_eq!(outcome, Reservation::Pending),
            None if self.plain.reserve(key, self.batch.1) => {
                let Reservation::Reserved(slot) = outcome else {
                    return Err(TestCaseError::fail(format!("{outcome:?} instead of a slot")));
                };
                let taken = self.stores.iter().chain(&self.pins).any(|(_, other)| *other == slot);
                prop_assert!(!taken, "slot {} is somebody's", slot);
                self.stores.push((key, slot));
            }
            None => prop_assert_eq!(outcome, Reservation::Full),
        }
        Ok(())
    }

    fn settle(&mut self, key: u8, slot: TierSlot, arrived: bool) -> Result<(), TestCaseError> {
        let named = !self.plain.doomed.contains_key(&slot);
        if arrived {
            prop_assert_eq!(self.ours.commit(slot), named);
            if named {
                let block = self.plain.blocks.get_mut(&key).expect("it has a name");
                (block.ready, block.pins) = (true, 0);
                return Ok(());
            }
        }
        self.ours.cancel(slot);
        if named {
            self.plain.doom(key, slot, 0);
        } else {
            self.plain.doomed.remove(&slot);
        }
        Ok(())
    }

    fn unpin(&mut self, key: u8, slot: TierSlot) {
        self.ours.unpin(slot);
        if let Some(pins) = self.plain.doomed.get_mut(&slot) {
            *pins -= 1;
            if *pins == 0 {
                self.plain.doomed.remove(&slot);
            }
        } else {
            self.plain.blocks.get_mut(&key).expect("it has a name").pins -= 1;
        }
    }

    /// Applies `remove` to the plain cache; the pin that `remove` left is not counted.
    fn removed(&mut self, key: u8, slot: Option<TierSlot>) -> Result<(), TestCaseError> {
        let Some(block) = self.plain.blocks.get(&key).cloned() else {
            prop_assert_eq!(slot, None);
            return Ok(());
        };
        prop_assert_eq!(slot.is_some(), block.ready, "a writer cleans up behind itself");
        let writer = self
            .stores
            .iter()
            .find(|(other, at)| *other == key && !self.plain.doomed.contains_key(at));
        let slot = slot.or(writer.map(|(_, slot)| *slot)).expect("it has a slot");
        self.plain.doom(key, slot, block.pins);
        Ok(())
    }

    fn clear(&mut self) -> Result<(), TestCaseError> {
        let mut next = 0;
        while let Some(slot) = self.ours.remove_next(next) {
            self.ours.unpin(slot);
            next = slot + 1;
        }
        self.ours.forget_ghosts();
        let named: Vec<u8> = self.plain.blocks.keys().copied().collect();
        for key in named {
            let held = self.stores.iter().chain(&self.pins);
            let mut held =
                held.filter(|(other, at)| *other == key && !self.plain.doomed.contains_key(at));
            let (slot, pins) = (held.next().map(|(_, slot)| *slot), self.plain.blocks[&key].pins);
            prop_assert_eq!(slot.is_some(), pins > 0);
            self.plain.doom(key, slot.unwrap_or_default(), pins);
        }
        self.plain.ghost_once.clear();
        self.plain.ghost_again.clear();
        Ok(())
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        for key in 0..14 {
            let ready = self.plain.blocks.get(&key).is_some_and(|block| block.ready);
            prop_assert_eq!(self.ours.contains(&key), ready, "block {}", key);
        }
        prop_assert_eq!(self.ours.blocks() as usize, self.plain.blocks.len());
        let used = self.plain.blocks.len() + self.plain.doomed.len();
        prop_assert_eq!(self.ours.used() as usize, used);
        prop_assert_eq!(self.ours.evicted(), self.plain.evicted);
        Ok(())
    }
}

fn agree(policy: EvictionPolicy, capacity: u32, actions: &[Action]) -> Result<(), TestCaseError> {
    let (mut ours, plain) =
        (KeyedCache::new(capacity, policy), Plain::new(capacity as usize, policy));
    let batch = (ours.begin([]), 1);
    let mut pair = Pair { ours, plain, stores: Vec::new(), pins: Vec::new(), batch };
    for action in actions {
        pair.apply(action)?;
        pair.compare()?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn lru_equals_the_plain_one(
        capacity in 1_u32..7, actions in prop::collection::vec(action(), 1..80),
    ) {
        agree(EvictionPolicy::Lru, capacity, &actions)?;
    }

    #[test]
    fn arc_equals_the_plain_one(
        capacity in 1_u32..7, actions in prop::collection::vec(action(), 1..120),
    ) {
        agree(EvictionPolicy::Arc, capacity, &actions)?;
    }

    #[test]
    fn none_equals_the_plain_one(
        capacity in 1_u32..7, actions in prop::collection::vec(action(), 1..60),
    ) {
        agree(EvictionPolicy::None, capacity, &actions)?;
    }
}

#[test]
fn restoring_keeps_slots_and_age() {
    let mut cache = KeyedCache::new(4, EvictionPolicy::Lru);
    let mut refused = Vec::new();
    // A duplicate slot, a duplicate key, and a slot out of range.
    cache.restore([(1, 3), (2, 0), (5, 3), (1, 1), (6, 4)], |slot| refused.push(slot));
    assert_eq!(refused, [3, 1, 4]);
    assert_eq!((cache.blocks(), cache.pin(&1), cache.pin(&2)), (2, Some(3), Some(0)));
    cache.unpin(3);
    cache.unpin(0);
    let batch = cache.begin([]);
    let mut slots: Vec<TierSlot> = (10..13)
        .map(|key| match cache.reserve(key, batch) {
            Reservation::Reserved(slot) => slot,
            other => panic!("{other:?}"),
        })
        .collect();
    // The third evicts the oldest, which was in slot 3.
    assert_eq!(slots.pop(), Some(3));
    slots.sort_unstable();
    assert_eq!(slots, [1, 2]);
    assert!(!cache.contains(&1) && cache.contains(&2));
}
