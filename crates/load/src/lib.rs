//! Generate and time requests over HTTP. Nothing but I/O on the timed path.
//!
//! Owns the measured client: connections, request bodies, the moments at which answers arrive, and
//! the certificate that says how wrong those moments can be. It does not own what is requested when
//! (`weir-workload`), how HTTP is spelled (`weir-http`), or what is done with the rows (the sink).
//!
//! Each worker is one thread with an event loop of its own instead of an asynchronous runtime,
//! because a bound of the error of a time rests on knowing when each poll returned and what it had
//! seen: a socket that the last poll did not report had no data then. The kernel stamps what
//! arrives, so that a late worker is late for itself and not for the figures.

mod answer;
mod body;
mod certificate;
mod clock;
mod config;
mod connection;
mod descriptors;
mod endpoint;
mod error;
mod exchange;
mod failure;
mod feed;
mod live;
mod poll;
mod run;
mod spread;
mod text;
mod turn;
mod worker;

pub use body::unmeasured_body;
pub use config::{LimitField, LoadConfig, LoadShape, PromptForm};
pub use error::LoadError;
pub use live::{Live, LiveSnapshot};
pub use run::{LoadReport, Sink, run};
#[cfg(feature = "tokenizer")]
pub use text::tokenizer::TokenizerText;
pub use text::{TextError, TextMaker};
pub use weir_http::{TlsConfig, Url};
pub use worker::GaveUp;
