//! Where live things run: endpoints that somebody deployed, and Weir's own engine brought up for a
//! cell.

pub mod emulated;
pub mod endpoint;
pub mod error;
mod remote;
pub mod site;
mod tiers;

pub use emulated::Emulated;
pub use endpoint::{Access, Endpoint, Flush, Served};
pub use error::DeployError;
pub use remote::RemoteStore;
pub use site::Site;
pub use tiers::Tiers;
