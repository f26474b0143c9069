//! Targets: deployed endpoints, Weir's own engine, and real vLLM, LMCache and stores as local
//! processes of a cell.

mod address;
pub mod checkpoint;
pub mod emptied;
pub mod emulated;
pub mod endpoint;
pub mod error;
mod facts;
pub mod front;
pub mod kubernetes;
pub mod leftovers;
pub mod limits;
pub mod local;
pub mod log;
mod mark;
mod ports;
mod presence;
pub mod process;
mod readers;
mod remote;
pub mod setup;
pub mod site;
mod store_probe;
mod tiers;

pub use emptied::{Emptied, EmptiedCount, Emptiness};
pub use emulated::Emulated;
pub use endpoint::{
    Access, CACHE_SALT, EngineEndpoint, FirstRequestError, Flush, Served, UNANSWERED,
};
pub use error::DeployError;
pub use front::Front;
pub use local::{CellPlace, Local, Started};
pub use presence::{Presence, other_runs};
pub use readers::TierReaders;
pub use remote::{RemoteStore, check_address};
pub use site::Site;
pub use tiers::Tiers;
