//! Token ids of symbolic content; the interner implements it.

use weir_model::Piece;

pub trait TokenIds {
    /// Appends the ids of `pieces` in order. False, with nothing appended, when a content is
    /// forgotten or unknown.
    fn append_token_ids(&self, pieces: &[Piece], ids: &mut Vec<u32>) -> bool;

    /// Empty when a piece is unknown.
    fn token_ids(&self, pieces: &[Piece]) -> Vec<u32> {
        let mut ids = Vec::new();
        self.append_token_ids(pieces, &mut ids);
        ids
    }

    /// Salt of the prompt at the start of `path`: part of the hash of its first block.
    fn cache_salt(&self, path: &[Piece]) -> Option<&str> {
        let _ = path;
        None
    }
}
