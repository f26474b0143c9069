//! The same sessions with other contents.

use weir_model::{ContentId, Piece, Prompt};

use crate::session::{Session, SessionSource};

/// Renames the source's contents: structure, lengths and reuse stay, but prompts of different salts
/// share no prefix. So a cache that an earlier run filled serves none of them.
#[derive(Debug)]
pub struct Salted<S> {
    source: S,
    /// None leaves the source as it is.
    salt: Option<u64>,
}

impl<S> Salted<S> {
    pub const fn new(source: S, salt: Option<u64>) -> Self {
        Self { source, salt }
    }

    pub const fn source(&self) -> &S {
        &self.source
    }
}

impl<S: SessionSource> SessionSource for Salted<S> {
    fn next_session(&mut self) -> Option<Session> {
        let mut session = self.source.next_session()?;
        if let Some(salt) = self.salt {
            for turn in &mut session.turns {
                let renamed =
                    |piece: &Piece| Piece { content: salted(salt, piece.content), ..*piece };
                turn.prompt = Prompt::new(turn.prompt.pieces().iter().map(renamed));
                turn.output = salted(salt, turn.output);
            }
        }
        Some(session)
    }

    fn is_finite(&self) -> bool {
        self.source.is_finite()
    }
}

fn salted(salt: u64, content: ContentId) -> ContentId {
    ContentId::derive(salt, "salted content", content.0)
}
