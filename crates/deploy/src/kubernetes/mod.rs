//! Engines, stores and routers as pods of a cluster.
//!
//! One deployment of a plan is a *stack*: objects with the same names for all of its arms, of which
//! one stands at a time. They belong to an anchor and carry labels, by which they are found and
//! removed. An arm is applied over the one before; what it does not need is removed.

mod arm;
mod command;
mod drift;
mod engine;
mod names;
mod objects;
mod pod;
mod pods;
mod rights;
mod router;
mod smoke;
mod stacks;
mod stand;
mod store;
mod volume;

pub use drift::Drift;
pub use objects::{StackObject, StandStep};
pub use pods::Pods;
pub use stacks::{StackChoice, StackState, stacks, take_down};
pub use stand::{Stand, StandProgress, preflight, render, user_role};
pub use weir_kubernetes::{Applied, Removed};

#[cfg(test)]
mod tests;
