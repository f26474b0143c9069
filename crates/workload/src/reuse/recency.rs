//! Entries in order of their last use, with the tokens used after each: an LRU stack.

/// An entry's index, given by the caller.
type Entry = u32;

/// No entry stands here any more.
const NONE: Entry = Entry::MAX;

/// Smallest number of positions between two compactions.
const POSITIONS_MIN: usize = 1024;

/// Positions in order of use; a Fenwick tree sums the tokens behind any of them in logarithmic
/// time. Used-up positions are squeezed out when the end is reached, so the size follows the
/// number of entries and not the number of uses.
#[derive(Debug)]
pub(super) struct Recency {
    /// Fenwick tree over positions; index 0 is unused.
    sums: Vec<u64>,
    /// The entry at each position, and its tokens.
    used: Vec<(Entry, u32)>,
    position: Vec<u32>,
    total: u64,
}

impl Recency {
    pub(super) fn new() -> Self {
        Self {
            sums: vec![0; POSITIONS_MIN + 1],
            used: Vec::with_capacity(POSITIONS_MIN),
            position: Vec::new(),
            total: 0,
        }
    }

    /// Tokens of all entries.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// Tokens of the entries that were used after this one.
    pub(super) fn used_after(&self, entry: Entry) -> u64 {
        let mut index = self.position[entry as usize] as usize + 1;
        let mut until = 0;
        while index > 0 {
            until += self.sums[index];
            index &= index - 1;
        }
        self.total - until
    }

    /// Makes an entry the last one used, with so many tokens. Entries are numbered densely.
    pub(super) fn touch(&mut self, entry: Entry, tokens: u32) {
        let index = entry as usize;
        if index >= self.position.len() {
            self.position.resize(index + 1, NONE);
        }
        if self.position[index] != NONE {
            let position = self.position[index] as usize;
            let (_, old) = self.used[position];
            self.used[position] = (NONE, 0);
            self.subtract(position, old);
        }
        if self.used.len() + 1 == self.sums.len() {
            self.squeeze();
        }
        self.position[index] = self.used.len() as u32;
        self.used.push((entry, tokens));
        self.add(self.used.len() - 1, tokens);
    }

    fn add(&mut self, position: usize, tokens: u32) {
        self.total += u64::from(tokens);
        let mut index = position + 1;
        while index < self.sums.len() {
            self.sums[index] += u64::from(tokens);
            index += index & index.wrapping_neg();
        }
    }

    fn subtract(&mut self, position: usize, tokens: u32) {
        self.total -= u64::from(tokens);
        let mut index = position + 1;
        while index < self.sums.len() {
            self.sums[index] -= u64::from(tokens);
            index += index & index.wrapping_neg();
        }
    }

    /// Drops used-up positions, and leaves as many free ones as there are entries.
    fn squeeze(&mut self) {
        self.used.retain(|(entry, _)| *entry != NONE);
        let positions = (self.used.len() * 2).max(POSITIONS_MIN);
        self.sums.clear();
        self.sums.resize(positions + 1, 0);
        for (place, (entry, tokens)) in self.used.iter().enumerate() {
            self.position[*entry as usize] = place as u32;
            self.sums[place + 1] = u64::from(*tokens);
        }
        for index in 1..=positions {
            let parent = index + (index & index.wrapping_neg());
            if parent <= positions {
                self.sums[parent] += self.sums[index];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sums_equal_those_of_a_plain_list(
            uses in prop::collection::vec((0u32..40, 1u32..100), 1..4000),
        ) {
            let mut recency = Recency::new();
            let mut list: Vec<(u32, u32)> = Vec::new();
            let mut names: Vec<u32> = Vec::new();
            for (name, tokens) in uses {
                let entry = names.iter().position(|n| *n == name).unwrap_or_else(|| {
                    names.push(name);
                    names.len() - 1
                }) as u32;
                recency.touch(entry, tokens);
                list.retain(|(e, _)| *e != entry);
                list.push((entry, tokens));
            }
            let all: u64 = list.iter().map(|(_, tokens)| u64::from(*tokens)).sum();
            prop_assert_eq!(recency.total(), all);
            for (place, (entry, _)) in list.iter().enumerate() {
                let after: u64 = list[place + 1..].iter().map(|(_, t)| u64::from(*t)).sum();
                prop_assert_eq!(recency.used_after(*entry), after);
            }
        }
    }
}
