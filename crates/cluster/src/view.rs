//! What can be seen of a cluster between its steps: what a metrics page or a tally needs.

use weir_engine::{Counters, Engine, TransferKind};
use weir_model::{Bytes, Nanos, TierKind, Tokens};

use crate::replica::Replica;

/// What went over one replica's way to one tier, in one direction, transfers that have ended only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkTotals {
    pub tier: TierKind,
    pub kind: TransferKind,
    pub transfers: u64,
    /// Bytes over all ranks.
    pub bytes: Bytes,
    /// Sum of the times from asking to end, queueing included.
    pub time: Nanos,
}

/// A request that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlight {
    /// The caller's name for it.
    pub tag: u64,
    pub replica: u16,
    /// Tokens it has been given so far.
    pub generated: u32,
    /// Prompt tokens served per tier, indexed by [`TierKind::index`]; zero before it ran.
    pub cached: [Tokens; 4],
}

/// One replica, as it is now.
#[derive(Clone, Copy)]
pub struct ReplicaView<'a>(pub(crate) &'a Replica);

impl<'a> ReplicaView<'a> {
    /// Its number, from 0.
    pub const fn number(self) -> u16 {
        self.0.number
    }

    /// Its engine: pool, tiers, counters.
    pub const fn engine(self) -> &'a Engine {
        &self.0.engine
    }

    /// Counters since the start.
    pub const fn counters(self) -> Counters {
        self.0.engine.counters()
    }

    pub const fn running(self) -> u32 {
        self.0.engine.running()
    }

    /// Requests in the engine that do not run.
    pub const fn waiting(self) -> u32 {
        self.0.engine.waiting()
    }

    /// Requests sent here that have not ended, those before the front end included.
    pub const fn in_flight(self) -> u32 {
        self.0.in_flight
    }

    /// Share of the pool's blocks that requests hold, 0 to 1.
    pub fn kv_usage(self) -> f64 {
        self.0.kv_usage()
    }

    /// What went to and from its tiers.
    pub fn links(self) -> &'a [LinkTotals] {
        &self.0.totals
    }
}
