//! The context of one user or agent, which grows with requests and answers.

use weir_model::{ContentId, Nanos, Piece, Prompt, Tokens};

use crate::session::Turn;

#[derive(Debug)]
pub(super) struct PrivateContents {
    seed: u64,
    namespace: &'static str,
    next: u64,
}

impl PrivateContents {
    /// A session has fewer than 2^16 contents: at most
    /// [`MAX_SESSION_TURNS`](crate::config::MAX_SESSION_TURNS) turns of two contents each, and a
    /// task per agent.
    pub(super) const fn new(seed: u64, namespace: &'static str, session: u64) -> Self {
        Self { seed, namespace, next: session << 16 }
    }

    pub(super) fn content(&mut self) -> ContentId {
        let content = ContentId::derive(self.seed, self.namespace, self.next);
        self.next += 1;
        content
    }

    pub(super) fn piece(&mut self, tokens: u32) -> Piece {
        Piece::new(self.content(), tokens)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Context {
    pieces: Vec<Piece>,
    tokens: u32,
    seen: u32,
}

impl Context {
    /// The leading `seen` tokens were requested before.
    pub(super) fn new(pieces: Vec<Piece>, seen: u32) -> Self {
        let tokens = pieces.iter().map(|piece| piece.len).sum();
        Self { pieces, tokens, seen }
    }

    pub(super) fn append(&mut self, piece: Piece) {
        self.tokens += piece.len;
        self.pieces.push(piece);
    }

    /// Sends the whole context, and adds the answer to it. From now on, all of it was seen.
    pub(super) fn ask(&mut self, answer: Piece, after: Vec<u32>, think: Nanos) -> Turn {
        let turn = Turn {
            prompt: Prompt::new(self.pieces.iter().copied()),
            output_tokens: Tokens(answer.len),
            output: answer.content,
            seen_tokens: Tokens(self.seen),
            after,
            think,
        };
        self.append(answer);
        self.seen = self.tokens;
        turn
    }
}
