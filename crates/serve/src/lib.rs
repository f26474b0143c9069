//! The emulated engine behind a vLLM-compatible HTTP API.
//!
//! One thread and one runtime per server. The [`interner`] turns token ids into a symbolic prompt,
//! the [`engine_loop`] steps the simulator's cluster in model time, and a response makes its frames
//! when its client takes them.

mod clock;
mod config;
pub mod engine_loop;
mod http;
pub mod interner;
pub mod kv_events;
pub mod metrics;
pub mod mover;
pub mod requests;
mod server;
mod state;
mod telemetry;
mod timer;
pub mod token_ids;
pub mod tokenizer;

pub use clock::TimeMode;
pub use config::{ServeConfig, ServeError};
pub use server::{Server, ServerHandle};
