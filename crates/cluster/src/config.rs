//! What a cluster is: engines, tiers, router.

use weir_engine::{EngineConfig, OffloadConfig, TimingConfig};
use weir_router::RouterConfig;

/// Everything a cluster is made of.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Scheduler and pool of each replica.
    pub engine: EngineConfig,
    /// Pass durations.
    pub timing: TimingConfig,
    /// Offload mechanism of each replica.
    pub offload: Option<OffloadConfig>,
    /// Routing.
    pub router: RouterConfig,
    /// Replicas, at least one.
    pub replicas: u16,
    /// Hand the engines' KV events to the observer too, undelayed.
    pub kv_events: bool,
}
