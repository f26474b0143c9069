//! A slab: places are used again, and a key distinguishes the values that had the same place.

/// Ordered by place, then generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotKey {
    place: u32,
    generation: u32,
}

impl SlotKey {
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.place as u64
    }

    pub const fn from_bits(bits: u64) -> Self {
        Self { place: bits as u32, generation: (bits >> 32) as u32 }
    }
}

#[derive(Debug, Clone)]
struct Slot<T> {
    /// Values that had this place before.
    generation: u32,
    value: Option<T>,
}

/// The last vacant place is taken first, before a new one.
#[derive(Debug, Clone)]
pub struct Slots<T> {
    slots: Vec<Slot<T>>,
    vacant: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), vacant: Vec::new() }
    }
}

impl<T> Slots<T> {
    pub fn next_key(&self) -> SlotKey {
        match self.vacant.last() {
            Some(&place) => SlotKey { place, generation: self.slots[place as usize].generation },
            None => SlotKey { place: self.slots.len() as u32, generation: 0 },
        }
    }

    pub fn insert(&mut self, value: T) -> SlotKey {
        let key = self.next_key();
        match self.vacant.pop() {
            Some(place) => self.slots[place as usize].value = Some(value),
            None => self.slots.push(Slot { generation: 0, value: Some(value) }),
        }
        key
    }

    /// None after its removal.
    pub fn get(&self, key: SlotKey) -> Option<&T> {
        let slot = self.slots.get(key.place as usize)?;
        if slot.generation == key.generation { slot.value.as_ref() } else { None }
    }

    pub fn get_mut(&mut self, key: SlotKey) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.place as usize)?;
        if slot.generation == key.generation { slot.value.as_mut() } else { None }
    }

    pub fn remove(&mut self, key: SlotKey) -> Option<T> {
        let slot = self.slots.get_mut(key.place as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.vacant.push(key.place);
        Some(value)
    }

    pub const fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In the order of their places.
    pub fn into_values(self) -> impl Iterator<Item = T> {
        self.slots.into_iter().filter_map(|slot| slot.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_that_of_one_value() {
        let mut slots = Slots::default();
        let first = slots.insert("a");
        let second = slots.insert("b");
        assert_eq!((slots.get(first), slots.len()), (Some(&"a"), 2));
        assert_eq!(slots.remove(first), Some("a"));
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        let next = slots.next_key();
        let third = slots.insert("c");
        assert_eq!(third, next);
        assert_ne!(third, first);
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.get_mut(third), Some(&mut "c"));
        assert_eq!(SlotKey::from_bits(third.to_bits()), third);
        // Keys are ordered by place before generation.
        assert!(first < third && third < second);
        assert_eq!(slots.into_values().collect::<Vec<_>>(), ["c", "b"]);
    }

    #[test]
    fn the_last_vacant_place_is_taken_first() {
        let mut slots = Slots::default();
        let keys: Vec<SlotKey> = (0..3).map(|value| slots.insert(value)).collect();
        slots.remove(keys[0]);
        slots.remove(keys[2]);
        assert_eq!(slots.insert(9).to_bits() as u32, 2);
        assert_eq!(slots.insert(9).to_bits() as u32, 0);
        assert_eq!(slots.insert(9).to_bits(), 3);
        assert!(!slots.is_empty());
    }
}
