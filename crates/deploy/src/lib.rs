//! Where live things run: endpoints that somebody deployed, and Weir's own engine brought up for a
//! cell.

pub mod emulated;
pub mod endpoint;
pub mod error;
pub mod site;

pub use emulated::Emulated;
pub use endpoint::{Access, Endpoint, Flush, Served};
pub use error::DeployError;
pub use site::Site;
