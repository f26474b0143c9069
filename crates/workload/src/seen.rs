//! What a cache without limits would hold of shared content.
//!
//! A chain is a prompt's beginning, hashed piece by piece as block hashes are: a piece after
//! another history is another entry. Only content that later sessions can request is stored, so
//! memory grows with the distinct chains of shared content, not with finished sessions.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

use weir_model::{ContentId, Piece};

/// Its hash has no random key, and its order is never used.
pub(crate) type ChainMap<V> = HashMap<u64, V, BuildHasherDefault<DefaultHasher>>;

pub(crate) const ROOT: u64 = 0;

/// Independent of the length of the piece.
pub(crate) fn entry(chain: u64, piece: &Piece) -> u64 {
    let by_content = ContentId::derive(chain, "chain content", piece.content.0).0;
    ContentId::derive(by_content, "chain start", u64::from(piece.start)).0
}

pub(crate) fn chain_after(entry: u64, len: u32) -> u64 {
    ContentId::derive(entry, "chain length", u64::from(len)).0
}

/// With the longest length of each last piece.
#[derive(Debug, Clone, Default)]
pub(crate) struct SeenChains {
    longest: ChainMap<u32>,
}

impl SeenChains {
    /// Leading tokens of the pieces that were added before; adds all pieces.
    pub(crate) fn observe(&mut self, pieces: &[Piece]) -> u32 {
        let mut seen = 0;
        let mut matching = true;
        let mut chain = ROOT;
        for piece in pieces {
            let entry = entry(chain, piece);
            let longest = self.longest.entry(entry).or_default();
            if matching {
                seen += piece.len.min(*longest);
                matching = piece.len <= *longest;
            }
            *longest = piece.len.max(*longest);
            chain = chain_after(entry, piece.len);
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(content: u64, len: u32) -> Piece {
        Piece::new(ContentId(content), len)
    }

    #[test]
    fn only_leading_pieces_with_the_same_history_count() {
        let mut seen = SeenChains::default();
        assert_eq!(seen.observe(&[piece(1, 10), piece(2, 10)]), 0);
        assert_eq!(seen.observe(&[piece(1, 10), piece(2, 10), piece(3, 4)]), 20);
        assert_eq!(seen.observe(&[piece(2, 10)]), 0, "another history");
        assert_eq!(seen.observe(&[piece(9, 1), piece(1, 10), piece(2, 10)]), 0);
        assert_eq!(seen.observe(&[piece(1, 10), piece(9, 1), piece(3, 4)]), 10);
    }

    #[test]
    fn cut_pieces_match_as_far_as_they_go() {
        let mut seen = SeenChains::default();
        assert_eq!(seen.observe(&[piece(1, 6)]), 0);
        assert_eq!(seen.observe(&[piece(1, 10), piece(2, 5)]), 6);
        assert_eq!(seen.observe(&[piece(1, 4)]), 4);
        assert_eq!(seen.observe(&[piece(1, 10), piece(2, 5)]), 15);
        let later = Piece { content: ContentId(1), start: 1, len: 5 };
        assert_eq!(seen.observe(&[later]), 0, "another part of the content");
    }
}
