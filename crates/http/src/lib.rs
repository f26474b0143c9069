//! HTTP/1.1 for a client, from bytes: responses, server-sent events, TLS, a small blocking fetch.
//!
//! Only [`mod@fetch`] does I/O. The caller owns the socket and passes received bytes, so that a
//! measuring loop can stamp reads and hold thousands of connections without threads. Bodies and
//! events are slices of the input; nothing is copied per event unless it was split between two
//! reads.
//!
//! No retry, redirect, proxy or connection pool; errors quote the received bytes. Compression is
//! not requested. Compressed messages are decoded, but refused as answers to measured requests.

pub mod coding;
pub mod events;
pub mod fetch;
mod quote;
pub mod request;
pub mod response;
pub mod tls;
pub mod url;

pub use events::{EventError, EventSplitter};
pub use fetch::{Fetch, FetchError, Fetched, fetch, fetch_unless};
pub use quote::Quoted;
pub use request::{Method, RequestError};
pub use response::{Head, HttpError, Limits, Progress, ResponseParser};
pub use tls::{TlsClient, TlsConfig, TlsError, TlsSession};
pub use url::{Url, UrlError};
