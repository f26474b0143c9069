//! Symbolic prompts: pieces of named content instead of token ids.
//!
//! A simulated request of 100,000 tokens is a handful of pieces. Two prompts share a prefix of `n`
//! tokens exactly when their pieces agree over the first `n` tokens, so comparing blocks needs no
//! token ids. Live servers make them by [`token_id`], a pure function of content, index and
//! vocabulary.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use crate::units::Tokens;

/// The name of an endless stream of tokens. Equal ids mean equal tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContentId(pub u64);

impl ContentId {
    /// Namespaces keep generators from colliding.
    pub fn derive(seed: u64, namespace: &str, index: u64) -> Self {
        let mut bytes = [0u8; 16];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..].copy_from_slice(&index.to_le_bytes());
        let salt = xxh3_64_with_seed(namespace.as_bytes(), 0);
        Self(xxh3_64_with_seed(&bytes, salt))
    }
}

/// `len` tokens of one content, from its token `start` on. Never empty inside a [`Prompt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Piece {
    pub content: ContentId,
    /// First token of the content that is meant.
    pub start: u32,
    pub len: u32,
}

impl Piece {
    pub const fn new(content: ContentId, len: u32) -> Self {
        Self { content, start: 0, len }
    }

    pub fn continues_into(&self, next: &Self) -> bool {
        self.content == next.content && self.start + self.len == next.start
    }
}

/// A sequence of pieces in canonical form: no empty piece, and no two neighbours that could be
/// one. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Prompt {
    pieces: Arc<[Piece]>,
    tokens: u32,
}

impl Prompt {
    pub fn new(pieces: impl IntoIterator<Item = Piece>) -> Self {
        let pieces = pieces.into_iter();
        let mut canonical: Vec<Piece> = Vec::with_capacity(pieces.size_hint().0);
        let mut tokens = 0;
        for piece in pieces {
            tokens += piece.len;
            push_piece(&mut canonical, piece);
        }
        Self { pieces: canonical.into(), tokens }
    }

    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    pub const fn tokens(&self) -> Tokens {
        Tokens(self.tokens)
    }

    /// True for clones of one prompt. Equal prompts made apart are false.
    pub fn is_clone_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pieces, &other.pieces)
    }

    /// Equal prompts have equal digests.
    pub fn digest(&self) -> u64 {
        let mut hasher = Xxh3::new();
        for piece in &*self.pieces {
            hasher.update(&piece.content.0.to_le_bytes());
            hasher.update(&piece.start.to_le_bytes());
            hasher.update(&piece.len.to_le_bytes());
        }
        hasher.digest()
    }

    #[must_use]
    pub fn followed_by(&self, more: impl IntoIterator<Item = Piece>) -> Self {
        Self::new(self.pieces.iter().copied().chain(more))
    }

    /// All tokens if there are fewer.
    #[must_use]
    pub fn truncated(&self, tokens: Tokens) -> Self {
        let mut left = tokens.0;
        Self::new(self.pieces.iter().map_while(|piece| {
            if left == 0 {
                return None;
            }
            let len = piece.len.min(left);
            left -= len;
            Some(Piece { len, ..*piece })
        }))
    }

    /// The token ids, for live edges. `vocabulary` must be at least 2.
    pub fn token_ids(&self, vocabulary: u32) -> impl Iterator<Item = u32> + '_ {
        self.pieces.iter().flat_map(move |piece| {
            (piece.start..piece.start + piece.len)
                .map(move |index| token_id(piece.content, index, vocabulary))
        })
    }
}

/// Merges the piece with the last one where it continues it, and drops empty pieces.
pub fn push_piece(pieces: &mut Vec<Piece>, piece: Piece) {
    if piece.len == 0 {
        return;
    }
    match pieces.last_mut() {
        Some(last) if last.continues_into(&piece) => last.len += piece.len,
        _ => pieces.push(piece),
    }
}

/// The token at `index` of a content: xxh3 of the index, seeded by the content, reduced to the
/// vocabulary. The same on every machine.
pub fn token_id(content: ContentId, index: u32, vocabulary: u32) -> u32 {
    let hash = xxh3_64_with_seed(&index.to_le_bytes(), content.0);
    (hash % u64::from(vocabulary)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_form_merges_neighbours_and_drops_empty_pieces() {
        let a = ContentId(1);
        let prompt = Prompt::new([
            Piece { content: a, start: 0, len: 10 },
            Piece { content: a, start: 10, len: 0 },
            Piece { content: a, start: 10, len: 5 },
            Piece { content: ContentId(2), start: 3, len: 4 },
        ]);
        assert_eq!(prompt.pieces().len(), 2);
        assert_eq!(prompt.tokens(), Tokens(19));
        assert_eq!(prompt.truncated(Tokens(12)).pieces(), &[Piece::new(a, 12)]);
    }

    #[test]
    fn equal_content_gives_equal_tokens_wherever_it_stands() {
        let long = Prompt::new([Piece::new(ContentId(7), 100)]);
        let split = Prompt::new([
            Piece::new(ContentId(7), 40),
            Piece { content: ContentId(7), start: 40, len: 60 },
        ]);
        assert_eq!(long, split);
        let ids: Vec<u32> = long.token_ids(151_936).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| *id < 151_936));
    }
}
