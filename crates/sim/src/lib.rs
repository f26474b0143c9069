//! Virtual time: the world in which a workload meets a cluster. Same seed, same rows.

mod accounting;
mod config;
mod counters;
mod in_flight;
mod unlimited;
pub mod world;

pub use accounting::Recorder;
pub use config::WorldConfig;
pub use weir_workload::Load;
pub use world::{SimError, Summary, World};
