//! Engines behind a router, stepped by the caller's clock.
//!
//! Decisions are made at an event's planned time, so the simulator and a late live server decide
//! alike.

mod cluster;
mod config;
mod event_queue;
mod io;
mod observer;
mod replica;
mod scrapes;
mod view;

pub use cluster::Cluster;
pub use config::ClusterConfig;
pub use io::IoRequest;
pub use observer::Observer;
pub use replica::Replica;
pub use view::{InFlight, LinkTotals, Placement};
pub use weir_engine::timing::TimingError;
pub use weir_engine::{Finished, SubmitError};
