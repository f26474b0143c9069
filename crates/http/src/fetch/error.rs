//! Errors of a fetch, with address and remedy.

use std::time::Duration;

use thiserror::Error;

use crate::quote::Quoted;
use crate::request::RequestError;
use crate::response::HttpError;
use crate::tls::TlsError;

/// `what` is method and URL, e.g. `GET http://h:8000/metrics`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FetchError {
    #[error("{what}: {error}")]
    Request {
        what: String,
        #[source]
        error: RequestError,
    },
    #[error(
        "{what}: no address for the host {host:?} ({why}): check its spelling and the resolver"
    )]
    NameNotFound { what: String, host: String, why: String },
    #[error("{what}: cannot connect: {attempts}; {remedy}")]
    Connect { what: String, attempts: String, remedy: &'static str },
    #[error("{what}: no complete answer within {}, while {doing}", seconds(*after))]
    TimedOut { what: String, after: Duration, doing: String },
    #[error("{what}: the connection broke while {doing}: {why}")]
    Broken { what: String, doing: String, why: String },
    #[error("{what}: {error}")]
    Tls {
        what: String,
        #[source]
        error: TlsError,
    },
    #[error("{what}: {error}")]
    Http {
        what: String,
        #[source]
        error: HttpError,
    },
    #[error("{what}: the body is longer than the {limit} bytes that are allowed")]
    TooLarge { what: String, limit: usize },
    #[error("{what}: status {status}{hint}: {body}")]
    Status { what: String, status: u16, hint: String, body: Quoted },
}

/// For messages: `2 s`, `0.25 s`.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_millis() as f64 / 1e3)
}
