//! The seam between symbolic content and token ids: the interner implements it.

use weir_model::Piece;

/// Resolves pieces of a live prompt into the token ids that they stand for.
pub trait TokenIds {
    /// Appends the token ids of `pieces`, in order, to `ids`. Answers false, and appends nothing,
    /// when a piece belongs to a content that was forgotten (pruned) or never known.
    fn append_token_ids(&self, pieces: &[Piece], ids: &mut Vec<u32>) -> bool;

    /// The token ids of `pieces`; empty when one of them is unknown.
    fn token_ids(&self, pieces: &[Piece]) -> Vec<u32> {
        let mut ids = Vec::new();
        self.append_token_ids(pieces, &mut ids);
        ids
    }

    /// The salt that the prompt at the beginning of `path` came with: it is part of the hash of the
    /// prompt's first block.
    fn cache_salt(&self, path: &[Piece]) -> Option<&str> {
        let _ = path;
        None
    }
}
