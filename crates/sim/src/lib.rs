//! Virtual time: the world in which a workload meets a cluster. Same seed, same rows.

mod books;
mod config;
mod flight;
mod reach;
mod tally;
pub mod world;

pub use books::Recorder;
pub use config::WorldConfig;
pub use weir_workload::Load;
pub use world::{SimError, Summary, World};
