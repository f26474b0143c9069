//! Sessions: turns that depend on each other. What every generator and trace reader yields.

use weir_model::{ContentId, Nanos, Prompt, Tokens};

/// One request of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// What is asked, earlier answers included.
    pub prompt: Prompt,
    pub output_tokens: Tokens,
    pub output: ContentId,
    /// Leading prompt tokens that were asked or generated before in this cell, by this session or
    /// an earlier one: what a cache without limits would hold.
    pub seen_tokens: Tokens,
    /// Turns of this session (by index) that must have ended before this one is due; empty for
    /// turns that are due when the session starts.
    pub after: Vec<u32>,
    /// Time between the end of the last of them and this turn's due time.
    pub think: Nanos,
}

/// Turns with a common history. `after` always points backwards, so the order of the turns is a
/// valid order of execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Unique in the cell, in order of generation.
    pub id: u64,
    /// When a trace says it started, after scaling; generators leave it empty.
    pub start: Option<Nanos>,
    pub turns: Vec<Turn>,
}

/// A seeded, possibly endless source of sessions. Equal sources yield equal sessions, however
/// they are driven.
pub trait SessionSource {
    /// The next session, or nothing at the end of a trace.
    fn next_session(&mut self) -> Option<Session>;

    /// True when the sessions come to an end by themselves.
    fn is_finite(&self) -> bool {
        false
    }
}

impl<S: SessionSource + ?Sized> SessionSource for &mut S {
    fn next_session(&mut self) -> Option<Session> {
        (**self).next_session()
    }

    fn is_finite(&self) -> bool {
        (**self).is_finite()
    }
}
