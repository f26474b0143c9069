use weir_engine::{EngineConfig, OffloadConfig, TimingConfig};
use weir_router::RouterConfig;

#[derive(Debug, Clone)]
pub struct ClusterConfig {
    pub engine: EngineConfig,
    pub timing: TimingConfig,
    pub offload: Option<OffloadConfig>,
    pub router: RouterConfig,
    pub replicas: u16,
    /// The observer gets the engines' KV events, undelayed.
    pub kv_events: bool,
}
