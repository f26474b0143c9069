//! What a cluster is: engines, tiers, router.

use weir_engine::{EngineConfig, OffloadConfig, TimingConfig};
use weir_router::RouterConfig;

/// Everything a cluster is made of.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Scheduler and pool of each replica.
    pub engine: EngineConfig,
    pub timing: TimingConfig,
    /// Offload mechanism of each replica.
    pub offload: Option<OffloadConfig>,
    pub router: RouterConfig,
    pub replicas: u16,
    /// Hand the engines' KV events to the observer too, undelayed.
    pub kv_events: bool,
}
