//! What every service of Weir has: cores, descriptors, and with the feature `http` a thread,
//! connections and an end.

#[cfg(feature = "http")]
mod connections;
mod cores;
mod descriptors;
#[cfg(feature = "suite")]
pub mod suite;
#[cfg(feature = "http")]
mod thread;

#[cfg(feature = "http")]
pub use connections::{Connections, listen};
pub use cores::{PinError, allowed_cores, pin_thread};
pub use descriptors::{DescriptorError, raise_descriptor_limit};
#[cfg(feature = "http")]
pub use thread::{ServiceError, ServiceHandle, ServiceThread, Stopper, block_on, spawn};
