//! Virtual time: the world that wires workload, router, engines and tiers. Same seed, same rows.

mod clock;
mod flight;
mod replica;
mod sessions;
mod tally;
pub mod world;

pub use world::{Load, Recorder, SimError, Summary, World, WorldConfig};
