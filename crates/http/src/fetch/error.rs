//! What can go wrong with a fetch, with the address and the remedy.

use std::time::Duration;

use thiserror::Error;

use crate::quote::Quoted;
use crate::request::RequestError;
use crate::response::HttpError;
use crate::tls::TlsError;

/// Why there is no response. `what` is the method and the URL, e.g. `GET http://h:8000/metrics`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FetchError {
    /// The request itself cannot be written.
    #[error("{what}: {error}")]
    Request {
        /// The request.
        what: String,
        /// What is wrong with it.
        #[source]
        error: RequestError,
    },
    /// The name of the host has no address.
    #[error(
        "{what}: no address for the host {host:?} ({why}): check its spelling and the resolver"
    )]
    NameNotFound {
        /// The request.
        what: String,
        /// The name.
        host: String,
        /// What the resolver says.
        why: String,
    },
    /// No address takes a connection.
    #[error("{what}: cannot connect: {attempts}; {remedy}")]
    Connect {
        /// The request.
        what: String,
        /// Each address that was tried, with what came of it.
        attempts: String,
        /// What to do.
        remedy: &'static str,
        /// Whether every address refused at once: the host is up, and nothing listens there.
        refused: bool,
    },
    /// The total time is over.
    #[error("{what}: no complete answer within {}, while {doing}", seconds(*after))]
    TimedOut {
        /// The request.
        what: String,
        /// The time that was allowed.
        after: Duration,
        /// What was going on.
        doing: String,
    },
    /// The connection broke.
    #[error("{what}: the connection broke while {doing}: {why}")]
    Broken {
        /// The request.
        what: String,
        /// What was going on.
        doing: String,
        /// What the system says.
        why: String,
    },
    /// There is no TLS session.
    #[error("{what}: {error}")]
    Tls {
        /// The request.
        what: String,
        /// What is wrong with it.
        #[source]
        error: TlsError,
    },
    /// What came is no response.
    #[error("{what}: {error}")]
    Http {
        /// The request.
        what: String,
        /// What is wrong with it.
        #[source]
        error: HttpError,
    },
    /// The body is longer than allowed.
    #[error("{what}: the body is longer than the {limit} bytes that are allowed")]
    TooLarge {
        /// The request.
        what: String,
        /// The limit.
        limit: usize,
    },
    /// The response is none of success, and its caller takes no other.
    #[error("{what}: status {status}{hint}: {body}")]
    Status {
        /// The request.
        what: String,
        /// The status.
        status: u16,
        /// What to do, where the status tells.
        hint: String,
        /// The beginning of the body.
        body: Quoted,
    },
}

impl FetchError {
    /// Whether nothing listens at the address: what a server that is starting looks like.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Connect { refused: true, .. })
    }
}

/// A duration in seconds for messages: `2 s`, `0.25 s`.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_millis() as f64 / 1e3)
}
