//! Placement policies and block indexes, as a pure step.
//!
//! The caller supplies time, loads and KV events, virtual or live, and gets a [`RoutingDecision`].

pub mod config;
pub mod index;
pub mod live;
#[cfg(test)]
mod recorded;
pub mod router;
pub mod score;

pub use config::{IndexConfig, Normalization, PolicyConfig, RouterConfig, ScorerWeights};
pub use index::{
    ApproximateIndex, BlockIndex, KeyedIndex, Match, Medium, PreciseIndex, TierWeights,
};
pub use live::{ReplicaChooser, ReplicaView};
pub use router::{Router, RouterStats, RoutingDecision};
pub use score::{ReplicaLoad, Scorers};
