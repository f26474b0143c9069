//! An order of use over small integer ids: a doubly linked list inside two vectors.
//!
//! All operations take constant time, and none allocates once the vectors have the largest id.

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Links {
    before: u32,
    after: u32,
    listed: bool,
}

impl Default for Links {
    fn default() -> Self {
        Self { before: NONE, after: NONE, listed: false }
    }
}

/// Ids from the least to the most recently used. An id is listed at most once.
#[derive(Debug, Clone)]
pub struct RecencyList {
    links: Vec<Links>,
    oldest: u32,
    newest: u32,
}

impl Default for RecencyList {
    fn default() -> Self {
        Self { links: Vec::new(), oldest: NONE, newest: NONE }
    }
}

impl RecencyList {
    pub fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// The next more recently used id.
    pub fn after(&self, id: u32) -> Option<u32> {
        let after = self.links[id as usize].after;
        (after != NONE).then_some(after)
    }

    /// From the least to the most recently used.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(self.oldest(), |id| self.after(*id))
    }

    pub fn contains(&self, id: u32) -> bool {
        self.links.get(id as usize).is_some_and(|links| links.listed)
    }

    /// `id` must not be listed; it becomes the most recently used one.
    pub fn push(&mut self, id: u32) {
        self.reserve(id + 1);
        debug_assert!(!self.links[id as usize].listed, "an id is listed once");
        self.links[id as usize] = Links { before: self.newest, after: NONE, listed: true };
        if self.newest == NONE {
            self.oldest = id;
        } else {
            self.links[self.newest as usize].after = id;
        }
        self.newest = id;
    }

    /// Puts an unlisted id right after (more recent than) the listed `place`.
    pub fn insert_after(&mut self, id: u32, place: u32) {
        self.reserve(id + 1);
        debug_assert!(self.contains(place) && !self.contains(id));
        let after = self.links[place as usize].after;
        self.links[id as usize] = Links { before: place, after, listed: true };
        self.links[place as usize].after = id;
        if after == NONE {
            self.newest = id;
        } else {
            self.links[after as usize].before = id;
        }
    }

    /// Puts an unlisted id right before (less recent than) the listed `place`.
    pub fn insert_before(&mut self, id: u32, place: u32) {
        self.reserve(id + 1);
        debug_assert!(self.contains(place) && !self.contains(id));
        let before = self.links[place as usize].before;
        self.links[id as usize] = Links { before, after: place, listed: true };
        self.links[place as usize].before = id;
        if before == NONE {
            self.oldest = id;
        } else {
            self.links[before as usize].after = id;
        }
    }

    /// Unlisted ids are ignored.
    pub fn remove(&mut self, id: u32) {
        if !self.contains(id) {
            return;
        }
        let Links { before, after, .. } = std::mem::take(&mut self.links[id as usize]);
        if before == NONE {
            self.oldest = after;
        } else {
            self.links[before as usize].after = after;
        }
        if after == NONE {
            self.newest = before;
        } else {
            self.links[after as usize].before = before;
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Makes room for ids below `ids`, so that later calls do not allocate.
    pub fn reserve(&mut self, ids: u32) {
        if self.links.len() < ids as usize {
            self.links.resize(ids as usize, Links::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(list: &RecencyList) -> Vec<u32> {
        list.iter().collect()
    }

    #[test]
    fn order_follows_use() {
        let mut list = RecencyList::default();
        for id in [3, 1, 2] {
            list.push(id);
        }
        list.insert_after(7, 1);
        assert_eq!(order(&list), [3, 1, 7, 2]);
        list.insert_before(8, 3);
        list.insert_before(6, 2);
        assert_eq!(order(&list), [8, 3, 1, 7, 6, 2]);
        list.remove(8);
        list.remove(6);
        list.remove(3);
        list.push(3);
        list.insert_after(9, 3);
        list.remove(1);
        list.remove(1);
        assert_eq!(order(&list), [7, 2, 3, 9]);
        list.clear();
        assert_eq!(list.oldest(), None);
    }
}
