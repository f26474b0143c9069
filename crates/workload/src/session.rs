//! Sessions of turns that depend on each other, as every generator and trace reader yields them.

use weir_model::{ContentId, Nanos, Prompt, Tokens};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Includes earlier answers.
    pub prompt: Prompt,
    pub output_tokens: Tokens,
    pub output: ContentId,
    /// Leading prompt tokens requested or generated before in this cell, by this session or an
    /// earlier one: the hits of an unlimited cache.
    pub seen_tokens: Tokens,
    /// Turns of this session (by index) that must end before this one is due. Turns without any are
    /// due when the session starts.
    pub after: Vec<u32>,
    /// From the end of the last of them to this turn's due time.
    pub think: Nanos,
}

/// `after` always points backwards, so the order of the turns is a valid order of execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Unique in the cell, in order of generation.
    pub id: u64,
    /// For traces, after scaling. Generators leave it empty.
    pub start: Option<Nanos>,
    pub turns: Vec<Turn>,
}

/// May be endless. Equal sources yield equal sessions, however they are driven.
pub trait SessionSource {
    /// None at the end of a trace.
    fn next_session(&mut self) -> Option<Session>;

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
