//! What can be wrong with a response, each with a short quotation of the bytes concerned.

use thiserror::Error;

use crate::quote::Quoted;

/// Why a response cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HttpError {
    /// Something else speaks on that port.
    #[error("not HTTP: the answer begins with {seen}{hint}")]
    NotHttp {
        /// Its beginning.
        seen: Quoted,
        /// What it looks like, where that is known.
        hint: &'static str,
    },
    /// A status line that cannot be parsed.
    #[error("malformed status line {line}: {why}")]
    StatusLine {
        /// The line.
        line: Quoted,
        /// What the parser says.
        why: String,
    },
    /// A header line that cannot be parsed.
    #[error("malformed header line {line}: {why}")]
    HeaderLine {
        /// The line.
        line: Quoted,
        /// What the parser says.
        why: String,
    },
    /// More bytes than allowed before the end of the head.
    #[error("the head of the response is longer than {limit} bytes: this is no inference server")]
    HeadTooLarge {
        /// The limit.
        limit: usize,
    },
    /// More header lines than allowed.
    #[error("the response has more than {limit} header lines: this is no inference server")]
    TooManyHeaders {
        /// The limit.
        limit: usize,
    },
    /// A header that decides about the body has a value that cannot be followed.
    #[error("the header {name} has the value {value}: {why}")]
    Header {
        /// The header.
        name: &'static str,
        /// Its value.
        value: Quoted,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The server changed the protocol without being asked.
    #[error("the server answered 101 (switching protocols), which was not asked for")]
    Upgrade,
    /// A chunk's size line.
    #[error("malformed chunk size at {seen}: {why}")]
    ChunkSize {
        /// The bytes from the fault on.
        seen: Quoted,
        /// What is wrong with them.
        why: &'static str,
    },
    /// No line end behind a chunk's data.
    #[error("a chunk is longer than its size says: {seen} stands where its line end should")]
    ChunkEnd {
        /// The bytes from the fault on.
        seen: Quoted,
    },
    /// Something that is no trailer behind the last chunk.
    #[error("malformed trailer behind the last chunk at {seen}: {why}")]
    Trailer {
        /// The bytes from the fault on.
        seen: Quoted,
        /// What is wrong with them.
        why: &'static str,
    },
    /// Closed before the first byte of a response; on a reused connection the server may simply
    /// have ended its patience.
    #[error("the server closed the connection without an answer")]
    NoResponse,
    /// Closed inside the head.
    #[error("the server closed the connection inside the head of its answer, after {seen}")]
    HeadCutOff {
        /// What came of it.
        seen: Quoted,
    },
    /// Closed before the length that the head promised.
    #[error("the server closed the connection after {got} of {expected} bytes of the body")]
    BodyCutOff {
        /// Bytes that came.
        got: u64,
        /// The `Content-Length`.
        expected: u64,
    },
    /// Closed before the last chunk.
    #[error("the server closed the connection inside a chunked body, after {got} bytes of it")]
    ChunksCutOff {
        /// Bytes that came.
        got: u64,
    },
}
