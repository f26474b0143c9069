//! The hash at the end of each prefix that the engine holds.
//!
//! A block's hash covers all blocks before it, so hashing a new block of a decoding sequence would
//! mean hashing its whole prompt again. The chain remembers hashes under a digest of the pieces
//! before them (16 bytes per piece). It also allows removals after the token ids are forgotten.

use std::collections::HashMap;

use weir_model::block::{BlockHasher as _, VllmHasher};
use weir_model::{Piece, TierKind};
use xxhash_rust::xxh3::xxh3_128;

use super::event::BlockHash;
use crate::token_ids::TokenIds;

/// Digest of a prefix's pieces in canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct PrefixDigest(u128);

impl PrefixDigest {
    const EMPTY: Self = Self(0);

    fn followed_by(self, piece: Piece) -> Self {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&piece.content.0.to_le_bytes());
        bytes[24..28].copy_from_slice(&piece.start.to_le_bytes());
        bytes[28..].copy_from_slice(&piece.len.to_le_bytes());
        Self(xxh3_128(&bytes))
    }
}

/// Digests of a path at rising positions, in one walk.
struct PrefixWalk<'a> {
    path: &'a [Piece],
    /// Of all canonical pieces before the open one.
    closed: PrefixDigest,
    /// The canonical piece at the walk's position, and its start.
    open: Option<Piece>,
    open_from: u32,
    next: usize,
}

impl<'a> PrefixWalk<'a> {
    fn new(path: &'a [Piece]) -> Self {
        Self { path, closed: PrefixDigest::EMPTY, open: None, open_from: 0, next: 0 }
    }

    /// Digest of the first `tokens` tokens, which must not fall between calls. None when the path
    /// is shorter.
    fn at(&mut self, tokens: u32) -> Option<PrefixDigest> {
        loop {
            if let Some(open) = self.open
                && tokens <= self.open_from + open.len
            {
                let len = tokens - self.open_from;
                if len == 0 {
                    return Some(self.closed);
                }
                return Some(self.closed.followed_by(Piece { len, ..open }));
            }
            if tokens == 0 {
                return Some(PrefixDigest::EMPTY);
            }
            self.open_next()?;
        }
    }

    /// Joins neighbours that continue each other.
    fn open_next(&mut self) -> Option<()> {
        if let Some(open) = self.open.take() {
            self.closed = self.closed.followed_by(open);
            self.open_from += open.len;
        }
        let mut piece = *self.path.get(self.next)?;
        self.next += 1;
        while let Some(more) = self.path.get(self.next)
            && piece.continues_into(more)
        {
            piece.len += more.len;
            self.next += 1;
        }
        self.open = Some(piece);
        Some(())
    }
}

/// A hash is remembered while any tier holds its block.
#[derive(Debug, Clone, Copy)]
struct Known {
    hash: BlockHash,
    /// A bit per tier.
    tiers: u8,
}

const fn bit(tier: TierKind) -> u8 {
    1 << tier.index()
}

#[derive(Debug)]
pub(super) struct HashChain {
    hasher: VllmHasher,
    block_tokens: u32,
    known: HashMap<PrefixDigest, Known>,
    tokens: Vec<u32>,
}

impl HashChain {
    pub(super) fn new(hasher: VllmHasher, block_tokens: u32) -> Self {
        Self { hasher, block_tokens, known: HashMap::new(), tokens: Vec::new() }
    }

    pub(super) const fn block_tokens(&self) -> u32 {
        self.block_tokens
    }

    /// Hash of the block that ends at `to`; None for 0. Fails when it is neither remembered nor
    /// computable.
    pub(super) fn parent(
        &mut self,
        path: &[Piece],
        to: u32,
        ids: &dyn TokenIds,
    ) -> Result<Option<BlockHash>, Forgotten> {
        if to == 0 {
            return Ok(None);
        }
        let digest = PrefixWalk::new(path).at(to).ok_or(Forgotten)?;
        if let Some(known) = self.known.get(&digest) {
            return Ok(Some(known.hash));
        }
        let mut hashes = Vec::new();
        self.compute(None, path, 0..to, ids, &mut hashes)?;
        Ok(hashes.pop())
    }

    /// Appends the hashes of the blocks in `span` to `hashes`, and remembers them.
    pub(super) fn store(
        &mut self,
        tier: TierKind,
        path: &[Piece],
        span: std::ops::Range<u32>,
        ids: &dyn TokenIds,
        hashes: &mut Vec<BlockHash>,
    ) -> Result<Option<BlockHash>, Forgotten> {
        let parent = self.parent(path, span.start, ids)?;
        let first = hashes.len();
        if self.remembered(path, span.clone(), hashes).is_err() {
            hashes.truncate(first);
            self.compute(parent, path, span.clone(), ids, hashes)?;
        }
        let mut walk = PrefixWalk::new(path);
        for (index, hash) in hashes[first..].iter().enumerate() {
            let end = span.start + (index as u32 + 1) * self.block_tokens;
            let digest = walk.at(end).ok_or(Forgotten)?;
            let known = self.known.entry(digest).or_insert(Known { hash: *hash, tiers: 0 });
            *known = Known { hash: *hash, tiers: known.tiers | bit(tier) };
        }
        Ok(parent)
    }

    /// Appends the hashes of the blocks in `span` to `hashes`, and forgets those that no other tier
    /// holds.
    pub(super) fn remove(
        &mut self,
        tier: TierKind,
        path: &[Piece],
        span: std::ops::Range<u32>,
        ids: &dyn TokenIds,
        hashes: &mut Vec<BlockHash>,
    ) -> Result<(), Forgotten> {
        let first = hashes.len();
        if self.remembered(path, span.clone(), hashes).is_err() {
            hashes.truncate(first);
            let parent = self.parent(path, span.start, ids)?;
            self.compute(parent, path, span.clone(), ids, hashes)?;
        }
        let mut walk = PrefixWalk::new(path);
        for end in self.block_ends(span) {
            let digest = walk.at(end).ok_or(Forgotten)?;
            if let Some(known) = self.known.get_mut(&digest) {
                known.tiers &= !bit(tier);
                if known.tiers == 0 {
                    self.known.remove(&digest);
                }
            }
        }
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
    }

    fn block_ends(&self, span: std::ops::Range<u32>) -> impl Iterator<Item = u32> + use<> {
        let block = self.block_tokens;
        (span.start / block + 1..=span.end / block).map(move |end| end * block)
    }

    fn remembered(
        &self,
        path: &[Piece],
        span: std::ops::Range<u32>,
        hashes: &mut Vec<BlockHash>,
    ) -> Result<(), Forgotten> {
        let mut walk = PrefixWalk::new(path);
        for end in self.block_ends(span) {
            let digest = walk.at(end).ok_or(Forgotten)?;
            hashes.push(self.known.get(&digest).ok_or(Forgotten)?.hash);
        }
        Ok(())
    }

    fn compute(
        &mut self,
        parent: Option<BlockHash>,
        path: &[Piece],
        span: std::ops::Range<u32>,
        ids: &dyn TokenIds,
        hashes: &mut Vec<BlockHash>,
    ) -> Result<(), Forgotten> {
        self.tokens.clear();
        if !ids.append_token_ids(&cut(path, span.clone()), &mut self.tokens) {
            return Err(Forgotten);
        }
        if self.tokens.len() != span.len() {
            return Err(Forgotten);
        }
        let salt = if span.start == 0 { ids.cache_salt(path) } else { None };
        let mut parent = parent.unwrap_or_else(|| self.hasher.root());
        for (index, block) in self.tokens.chunks_exact(self.block_tokens as usize).enumerate() {
            parent = match salt {
                Some(salt) if index == 0 => self.hasher.hash_salted_block(&parent, block, salt),
                _ => self.hasher.hash_block(&parent, block),
            };
            hashes.push(parent);
        }
        Ok(())
    }
}

/// Neither token ids nor hash of a block are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forgotten;

pub(super) fn cut(path: &[Piece], span: std::ops::Range<u32>) -> Vec<Piece> {
    let mut at = 0;
    let mut pieces = Vec::new();
    for piece in path {
        let from = span.start.clamp(at, at + piece.len);
        let to = span.end.clamp(at, at + piece.len);
        if from < to {
            pieces.push(Piece { start: piece.start + (from - at), len: to - from, ..*piece });
        }
        at += piece.len;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_model::{ContentId, Prompt};

    use super::*;

    fn pieces() -> impl Strategy<Value = Vec<Piece>> {
        let piece = (0..3_u64, 0..40_u32, 1..40_u32).prop_map(|(content, start, len)| Piece {
            content: ContentId(content),
            start,
            len,
        });
        prop::collection::vec(piece, 1..6)
    }

    proptest! {
        /// Digests do not depend on how a path is cut or where the walk began, and differ for
        /// different tokens.
        #[test]
        fn digests_name_prefixes(path in pieces(), cuts in prop::collection::vec(1..30_u32, 3)) {
            let whole = Prompt::new(path.iter().copied());
            let mut scattered = Vec::new();
            for (piece, at) in path.iter().zip(cuts.iter().cycle()) {
                let at = *at.min(&piece.len);
                scattered.push(Piece { len: at, ..*piece });
                if at < piece.len {
                    let len = piece.len - at;
                    scattered.push(Piece { start: piece.start + at, len, ..*piece });
                }
            }
            let mut canonical = PrefixWalk::new(whole.pieces());
            let mut cut_up = PrefixWalk::new(&scattered);
            let mut seen = std::collections::HashSet::new();
            for tokens in 0..=whole.tokens().0 {
                let digest = canonical.at(tokens);
                prop_assert!(digest.is_some());
                prop_assert_eq!(digest, cut_up.at(tokens));
                prop_assert_eq!(digest, PrefixWalk::new(&path).at(tokens));
                prop_assert!(seen.insert(digest), "two prefixes of one path share a digest");
            }
            prop_assert_eq!(canonical.at(whole.tokens().0 + 1), None);
        }
    }

    #[test]
    fn a_cut_keeps_the_tokens_of_its_span() {
        let path = [
            Piece { content: ContentId(1), start: 5, len: 10 },
            Piece { content: ContentId(2), start: 0, len: 10 },
        ];
        assert_eq!(
            cut(&path, 8..12),
            [
                Piece { content: ContentId(1), start: 13, len: 2 },
                Piece { content: ContentId(2), start: 0, len: 2 },
            ]
        );
        assert_eq!(cut(&path, 10..20), [path[1]]);
        assert!(cut(&path, 20..25).is_empty());
    }
}
