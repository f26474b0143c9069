//! One part of a load that several processes generate.

use serde::{Deserialize, Serialize};

use crate::session::{Session, SessionSource};

/// The sessions whose position in the order of generation leaves `index` when divided by `of`, with
/// their due times and users. All shards together are the whole load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Below `of`.
    pub index: u32,
    /// At least 1.
    pub of: u32,
}

impl Shard {
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// Part `part` of `parts` of this shard, as a part of the whole.
    #[must_use]
    pub const fn part(self, part: u32, parts: u32) -> Self {
        Self { index: self.index + self.of * part, of: self.of * parts }
    }

    /// How many of the first `count` things are its own.
    pub const fn share(self, count: u64) -> u64 {
        let (index, of) = (self.index as u64, self.of as u64);
        count / of + if index < count % of { 1 } else { 0 }
    }

    pub const fn has(self, position: u64) -> bool {
        position % self.of as u64 == self.index as u64
    }
}

/// The sessions of one shard. All are generated, so that `seen_tokens` count the sessions of other
/// shards too.
#[derive(Debug)]
pub struct Sharded<S> {
    source: S,
    shard: Shard,
    position: u64,
}

impl<S> Sharded<S> {
    pub const fn new(source: S, shard: Shard) -> Self {
        Self { source, shard, position: 0 }
    }
}

impl<S: SessionSource> SessionSource for Sharded<S> {
    fn next_session(&mut self) -> Option<Session> {
        loop {
            let session = self.source.next_session()?;
            let position = self.position;
            self.position += 1;
            if self.shard.has(position) {
                return Some(session);
            }
        }
    }

    fn is_finite(&self) -> bool {
        self.source.is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_shards_divide_the_whole() {
        for (of, parts, count) in [(1, 1, 5), (4, 1, 10), (4, 3, 100), (3, 2, 7)] {
            let all = (0..of).flat_map(|index| {
                (0..parts).map(move |part| Shard { index, of }.part(part, parts))
            });
            let all: Vec<Shard> = all.collect();
            for position in 0..count {
                assert_eq!(all.iter().filter(|shard| shard.has(position)).count(), 1);
            }
            for shard in &all {
                let own = (0..count).filter(|position| shard.has(*position)).count() as u64;
                assert_eq!(shard.share(count), own, "{shard:?} of {count}");
            }
        }
    }
}
