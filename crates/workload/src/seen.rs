//! What a cache without limits would hold of shared content.
//!
//! A chain is a prompt's beginning, hashed piece by piece as block hashes are: a piece after
//! another history is another entry. Only content that later sessions can ask for is put here, so
//! the memory grows with the distinct chains of shared content and not with finished sessions.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

use weir_model::{ContentId, Piece};

/// A map without a random key; its order is never looked at either.
pub(crate) type ChainMap<V> = HashMap<u64, V, BuildHasherDefault<DefaultHasher>>;

/// The chain before the first piece.
pub(crate) const ROOT: u64 = 0;

/// The entry of a piece that follows `chain`, whatever its length.
pub(crate) fn entry(chain: u64, piece: &Piece) -> u64 {
    let by_content = ContentId::derive(chain, "chain content", piece.content.0).0;
    ContentId::derive(by_content, "chain start", u64::from(piece.start)).0
}

/// The chain that ends with the entry's first `len` tokens.
pub(crate) fn chain_after(entry: u64, len: u32) -> u64 {
    ContentId::derive(entry, "chain length", u64::from(len)).0
}

/// Chains that were asked before, with the longest length of each last piece.
#[derive(Debug, Clone, Default)]
pub(crate) struct SeenChains {
    longest: ChainMap<u32>,
}

impl SeenChains {
    /// Leading tokens of the pieces that were put here before; puts all of them here.
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
