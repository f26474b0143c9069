//! Generators, traces, sessions and arrival schedules. They are seeded, and prompts are symbolic:
//! token ids exist only in live runs.

pub mod arrival;
pub mod client;
pub mod config;
pub mod demand;
pub mod error;
pub mod generator;
pub mod salted;
pub mod session;
pub mod shard;
pub mod source;
pub mod trace;

mod draw;
mod length;
mod seen;
mod stream;

pub use arrival::{Arrivals, Ramp, Schedule};
pub use client::ClientOptions;
pub use config::WorkloadConfig;
pub use demand::{Demand, Due, Load, SessionSlot};
pub use draw::Picker;
pub use error::WorkloadError;
pub use salted::Salted;
pub use session::{Session, SessionSource, Turn};
pub use shard::{Shard, Sharded};
pub use source::{Source, SourceOptions, open};
pub use stream::RandomStream;
