//! Generate and time requests over HTTP. Nothing but I/O on the timed path.
//!
//! Measures requests over HTTP: connections, bodies, arrival times, and a certificate of their
//! error. `weir-workload` decides what is requested when, `weir-http` parses, and the sink takes
//! the rows.
//!
//! Each worker is a thread with its own event loop instead of an asynchronous runtime. Error bounds
//! need the time of each poll and its result: a socket that the last poll did not report was empty.
//! The kernel stamps arrivals, so a late worker does not change the figures.

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
mod replicas;
mod run;
mod spread;
mod text;
mod turn;
mod worker;

pub use body::unmeasured_body;
pub use clock::{monotonic_ns, unix_ns_at};
pub use config::{LimitField, LoadConfig, LoadShape, PromptForm};
pub use error::LoadError;
pub use live::{Live, LiveCounts, LiveSnapshot};
pub use replicas::ReplicaNames;
pub use run::{LoadReport, ShardReport, Sink, run, run_shard};
#[cfg(feature = "tokenizer")]
pub use text::tokenizer::TokenizerText;
pub use text::{TextError, TextMaker};
pub use weir_http::{TlsConfig, Url};
pub use worker::GaveUp;
