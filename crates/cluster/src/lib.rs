//! Engines behind a router, stepped on whatever clock the caller has.
//!
//! The simulator steps it in virtual time and the live server in real time. Every decision is made
//! at an event's own planned time, so both decide alike, however late a live caller is.

mod cluster;
mod config;
mod event_queue;
mod io;
mod observer;
mod replica;
mod view;

pub use cluster::Cluster;
pub use config::ClusterConfig;
pub use io::IoRequest;
pub use observer::Observer;
pub use replica::Replica;
pub use view::{InFlight, LinkTotals, Placement};
pub use weir_engine::timing::TimingError;
pub use weir_engine::{Finished, SubmitError};
