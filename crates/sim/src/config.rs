//! What a world is: engines, tiers, router, load, end.

use weir_engine::{EngineConfig, OffloadConfig, TimingConfig};
use weir_model::Nanos;
use weir_router::RouterConfig;
use weir_workload::Schedule;

/// How sessions arrive.
#[derive(Debug, Clone)]
pub enum Load {
    /// Closed loop: so many users, each with one session at a time.
    Users(u32),
    /// Open loop: a session at each due time.
    Open(Schedule),
    /// Each session brings its start.
    SessionTimes,
}

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
