//! Faults of a response, each with a short quotation of the bytes.

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
    /// A header that decides about the body has a value that cannot be followed.
    #[error("the header {name} has the value {value}: {why}")]
    Header { name: &'static str, value: Quoted, why: &'static str },
    #[error("the server answered 101 (switching protocols), which was not requested")]
    Upgrade,
    #[error("malformed chunk size at {seen}: {why}")]
    ChunkSize {
        /// The bytes from the fault on.
        seen: Quoted,
        why: &'static str,
    },
    #[error("a chunk is longer than its size says: found {seen} in place of its line end")]
    ChunkEnd {
        /// The bytes from the fault on.
        seen: Quoted,
    },
    #[error("malformed trailer after the last chunk at {seen}: {why}")]
    Trailer {
        /// The bytes from the fault on.
        seen: Quoted,
        why: &'static str,
    },
    /// Closed before the first byte of a response; on a reused connection the server may simply
    /// have ended its patience.
    #[error("the server closed the connection without an answer")]
    NoResponse,
    #[error("the server closed the connection inside the head of its answer, after {seen}")]
    HeadCutOff { seen: Quoted },
    #[error("the server closed the connection after {got} of {expected} bytes of the body")]
    BodyCutOff { got: u64, expected: u64 },
    #[error("the server closed the connection inside a chunked body, after {got} bytes of it")]
    ChunksCutOff { got: u64 },
}
