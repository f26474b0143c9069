//! Engines behind a router, stepped on whatever clock the caller has.
//!
//! The simulator steps it in virtual time and the live server in real time. Every decision is made
//! at an event's own planned time, so both decide alike, however late a live caller is.

mod clock;
mod cluster;
mod config;
mod errand;
mod observer;
mod replica;
mod view;

pub use cluster::{Cluster, Placement};
pub use config::ClusterConfig;
pub use errand::Errand;
pub use observer::Observer;
pub use view::{InFlight, LinkTotals, ReplicaView};
pub use weir_engine::timing::TimingError;
pub use weir_engine::{Finished, SubmitError};
