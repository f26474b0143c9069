//! Numbers of an engine's batches: which are lost, doubled, or of a new life of the engine.

use std::collections::VecDeque;

/// Batches in which a doubled one is recognized.
const RECENT: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// The first one heard, after so many that were not.
    First(u64),
    Next,
    /// So many before it are lost.
    After(u64),
    /// Heard before.
    Again,
    /// The numbers began anew: another engine process. So many of its batches were not heard.
    Restarted(u64),
}

#[derive(Debug, Default)]
pub(crate) struct BatchSequence {
    /// Number and digest, oldest first.
    recent: VecDeque<(u64, u64)>,
}

impl BatchSequence {
    pub(crate) fn take(&mut self, number: u64, digest: u64) -> Arrived {
        let arrived = match self.recent.back() {
            None => Arrived::First(number),
            Some((last, _)) if last.checked_add(1) == Some(number) => Arrived::Next,
            Some((last, _)) if number > *last => Arrived::After(number - last - 1),
            Some(_) if self.recent.contains(&(number, digest)) => return Arrived::Again,
            Some(_) => {
                self.recent.clear();
                Arrived::Restarted(number)
            }
        };
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((number, digest));
        arrived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_say_what_was_lost_doubled_or_begun_anew() {
        let mut sequence = BatchSequence::default();
        let mut take = |number, digest| sequence.take(number, digest);
        assert_eq!(take(3, 30), Arrived::First(3));
        assert_eq!(take(4, 40), Arrived::Next);
        assert_eq!(take(7, 70), Arrived::After(2));
        assert_eq!(take(4, 40), Arrived::Again);
        assert_eq!(take(7, 70), Arrived::Again);
        assert_eq!(take(8, 80), Arrived::Next);
        // Another process: its first batch has another content.
        assert_eq!(take(1, 11), Arrived::Restarted(1));
        assert_eq!(take(2, 22), Arrived::Next);
        // The last number there is.
        assert_eq!(take(u64::MAX, 33), Arrived::After(u64::MAX - 3));
        assert_eq!(take(0, 44), Arrived::Restarted(0));
    }
}
