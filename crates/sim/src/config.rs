//! What a world is: a cluster, its load, its end.

use weir_cluster::ClusterConfig;
use weir_engine::{EngineConfig, OffloadConfig, TimingConfig};
use weir_model::{Nanos, Window};
use weir_router::RouterConfig;
use weir_workload::Load;

/// Everything a cell needs.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// Scheduler and pool of each replica.
    pub engine: EngineConfig,
    pub timing: TimingConfig,
    /// Offload mechanism of each replica.
    pub offload: Option<OffloadConfig>,
    pub router: RouterConfig,
    pub replicas: u16,
    pub load: Load,
    /// The measured window ends here. The load goes on until every request that was due in the
    /// window has ended; what is in flight then is recorded as unfinished. Nothing: the cell ends
    /// when everything is answered.
    pub duration: Option<Nanos>,
    /// The measured window starts here.
    pub warmup: Nanos,
    /// Most time that requests may take after the window.
    pub drain: Nanos,
    /// Most requests to issue.
    pub max_requests: Option<u64>,
}

impl WorldConfig {
    /// The measured window; without a duration it has no end that is known before the load's.
    pub(crate) fn window(&self) -> Window {
        Window { start: self.warmup, end: self.duration.unwrap_or(Nanos::MAX) }
    }

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
