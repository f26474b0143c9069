//! What the router knows of the replicas' loads: gauges as of the last scrape.
//!
//! A scrape is due at each multiple of the interval in model time, and comes before anything else
//! at that time. Nothing changes between two events, so a due scrape is made when the next
//! one comes.

use weir_model::Nanos;
use weir_router::{PolicyConfig, ReplicaLoad};

use crate::replica::Replica;

pub(crate) struct Scrapes {
    /// None: the policy reads no gauges.
    interval: Option<Nanos>,
    next: Nanos,
    loads: Vec<ReplicaLoad>,
}

impl Scrapes {
    pub(crate) fn new(policy: &PolicyConfig, replicas: u16) -> Self {
        let interval = policy.scrape_interval().filter(|_| replicas > 1);
        let loads = vec![ReplicaLoad::default(); usize::from(replicas)];
        Self { interval, next: Nanos::ZERO, loads }
    }

    /// Nothing has happened since the last event before `now`.
    pub(crate) fn take_due(&mut self, now: Nanos, replicas: &[Replica]) {
        let Some(interval) = self.interval.filter(|_| now >= self.next) else { return };
        for (load, replica) in self.loads.iter_mut().zip(replicas) {
            load.waiting = replica.engine.waiting();
            load.kv_usage = replica.kv_usage();
        }
        // An interval of zero is due at each event.
        let passed = now.0.checked_div(interval.0).unwrap_or(0);
        self.next = Nanos(interval.0.saturating_mul(passed.saturating_add(1)));
    }

    /// A router counts its own requests, whether it reads gauges or not.
    pub(crate) fn loads(&mut self, replicas: &[Replica]) -> &[ReplicaLoad] {
        for (load, replica) in self.loads.iter_mut().zip(replicas) {
            load.in_flight = replica.in_flight;
        }
        &self.loads
    }
}
