//! Virtual time: the world that wires workload, router, engines and tiers. Same seed, same rows.

mod clock;
mod config;
mod flight;
mod reach;
mod replica;
mod sessions;
mod tally;
pub mod world;

pub use config::{Load, WorldConfig};
pub use world::{Recorder, SimError, Summary, World};
