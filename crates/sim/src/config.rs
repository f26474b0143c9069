use weir_cluster::ClusterConfig;
use weir_engine::{EngineConfig, OffloadConfig, TimingConfig};
use weir_model::{Nanos, Window};
use weir_router::RouterConfig;
use weir_workload::Load;

#[derive(Debug, Clone)]
pub struct WorldConfig {
    pub engine: EngineConfig,
    pub timing: TimingConfig,
    pub offload: Option<OffloadConfig>,
    pub router: RouterConfig,
    pub replicas: u16,
    pub load: Load,
    /// End of the measured window. The load goes on until every request due in it has ended; others
    /// in flight are then unfinished. None: the cell ends when everything is answered.
    pub duration: Option<Nanos>,
    /// Start of the measured window.
    pub warmup: Nanos,
    /// Most time for requests after the window.
    pub drain: Nanos,
    pub max_requests: Option<u64>,
}

impl WorldConfig {
    /// Without a duration its end is known only after the load.
    pub(crate) fn window(&self) -> Window {
        Window { start: self.warmup, end: self.duration.unwrap_or(Nanos::MAX) }
    }

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
