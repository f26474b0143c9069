//! HTTP/1.1 for a client, from bytes: responses, server-sent events, TLS, a small blocking fetch.
//!
//! Everything but [`mod@fetch`] does no input or output: the caller owns the socket and hands over
//! what it received, so that a measuring loop can stamp a read before anything is parsed and hold
//! thousands of connections without a thread for each. Bytes of bodies and events are handed out as
//! slices of what was fed; nothing is copied or allocated per chunk or per event unless it was
//! split between two reads.
//!
//! No retry, no redirect, no proxy, no connection pool: a failure is an error that quotes what was
//! received. Compression is not requested; compressed messages are decoded all the same, compressed
//! answers to measured requests are refused.

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
