//! The live driver of engine and router: an OpenAI-compatible server that looks like vLLM.
//!
//! One thread and one runtime per server. A request's tokens become a symbolic prompt
//! ([`interner`]), the [`driver`] steps the same cluster as the simulator on the model's own
//! timeline, and a response makes its frames when its peer takes them. [`Server`] puts a socket in
//! front of that.

mod api;
pub mod carrier;
mod clock;
mod config;
pub mod driver;
mod house;
pub mod interner;
pub mod kv_events;
pub mod metrics;
mod server;
mod telemetry;
mod timer;
pub mod token_ids;
pub mod tokenizer;

pub use clock::TimeMode;
pub use config::{ServeConfig, ServeError};
pub use server::{Server, ServerHandle, Stopper};
