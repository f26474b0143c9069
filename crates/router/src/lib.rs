//! Where a request goes, as a pure step: placement policies and block indexes.
//!
//! Owns no clock, no socket and no engine: the caller supplies the time, the loads and the KV
//! events, in virtual time or live, and gets a [`RoutingDecision`].

pub mod config;
pub mod index;
pub mod router;
pub mod score;

pub use config::{IndexConfig, PolicyConfig, RouterConfig, ScorerWeights};
pub use index::{ApproximateIndex, BlockIndex, Match, PreciseIndex, TierWeights};
pub use router::{Router, RouterStats, RoutingDecision};
pub use score::ReplicaLoad;
