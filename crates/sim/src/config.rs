//! What a world is: a cluster, its load, its end.

use weir_cluster::ClusterConfig;
use weir_engine::{EngineConfig, OffloadConfig, TimingConfig};
use weir_model::Nanos;
use weir_router::RouterConfig;
use weir_workload::Load;

/// Everything a cell needs.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// Scheduler and pool of each replica.
    pub engine: EngineConfig,
    /// Pass durations.
    pub timing: TimingConfig,
    /// Offload mechanism of each replica.
    pub offload: Option<OffloadConfig>,
    /// Routing.
    pub router: RouterConfig,
    /// Replicas.
    pub replicas: u16,
    /// Arrivals.
    pub load: Load,
    /// The cell ends here; what is in flight is recorded as unfinished. Nothing: it ends when
    /// everything is answered.
    pub duration: Option<Nanos>,
    /// Signals count from here.
    pub warmup: Nanos,
    /// Most requests to issue.
    pub max_requests: Option<u64>,
}

impl WorldConfig {
    /// The part that serves.
    pub(crate) fn cluster(&self) -> ClusterConfig {
        ClusterConfig {
            engine: self.engine.clone(),
            timing: self.timing.clone(),
            offload: self.offload.clone(),
            router: self.router.clone(),
            replicas: self.replicas,
            kv_events: false,
        }
    }
}
