//! Faults of a response, with a quotation of the bytes.

use thiserror::Error;

use crate::quote::Quoted;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HttpError {
    #[error("not HTTP: the answer begins with {seen}{hint}")]
    NotHttp { seen: Quoted, hint: &'static str },
    #[error("malformed status line {line}: {why}")]
    StatusLine { line: Quoted, why: String },
    #[error("malformed header line {line}: {why}")]
    HeaderLine { line: Quoted, why: String },
    #[error(
        "the head of the response is longer than {limit} bytes: this is not an inference server"
    )]
    HeadTooLarge { limit: usize },
    #[error("the response has more than {limit} header lines: this is not an inference server")]
    TooManyHeaders { limit: usize },
    /// A header that decides the body's framing is invalid.
    #[error("the header {name} has the value {value}: {why}")]
    Header { name: &'static str, value: Quoted, why: &'static str },
    #[error("the server answered 101 (switching protocols), which was not requested")]
    Upgrade,
    #[error("malformed chunk size at {seen}: {why}")]
    ChunkSize {
        /// From the fault on.
        seen: Quoted,
        why: &'static str,
    },
    #[error("a chunk is longer than its size says: found {seen} in place of its line end")]
    ChunkEnd {
        /// From the fault on.
        seen: Quoted,
    },
    #[error("malformed trailer after the last chunk at {seen}: {why}")]
    Trailer {
        /// From the fault on.
        seen: Quoted,
        why: &'static str,
    },
    /// On a reused connection this may be the server's idle time-out.
    #[error("the server closed the connection without an answer")]
    NoResponse,
    #[error("the server closed the connection inside the head of its answer, after {seen}")]
    HeadCutOff { seen: Quoted },
    #[error("the server closed the connection after {got} of {expected} bytes of the body")]
    BodyCutOff { got: u64, expected: u64 },
    #[error("the server closed the connection inside a chunked body, after {got} bytes of it")]
    ChunksCutOff { got: u64 },
}
