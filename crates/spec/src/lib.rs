//! The experiment file (what was written) -> the plan (what will run).
//!
//! Owns the file's format, the catalogues of models, hardware and arms, capacity arithmetic, the
//! decision table of verdicts and the predictions made with it.

pub mod capacity;
pub mod catalogue;
pub mod cost;
pub mod document;
pub mod error;
pub mod experiment;
pub mod kv_pool;
pub mod likeness;
pub mod plan;
pub mod prediction;
pub mod schema;
pub mod size;
pub mod starter;
pub mod variables;
pub mod verdict;

mod resolve;
mod set;
mod withheld;

pub use document::Spec;
pub use error::SpecError;
pub use experiment::{EndpointLimits, Experiment};
pub use plan::Plan;
pub use resolve::{AS_DEPLOYED, ENDPOINT, routing_policy};
pub use schema::schema;
pub use starter::{builtin, starter};
pub use verdict::{Decision, decide};
pub use withheld::{Recorded, recorded_spec, recorded_text};
