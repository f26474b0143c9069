//! External I/O: with the link model's times, results equal the model's. Failed loads are computed.

use proptest::prelude::*;
use weir_cluster::{Cluster, ClusterConfig, IoRequest};
use weir_engine::{LoadMode, OffloadConfig, TransferKind, TransferOutcome};
use weir_model::{Nanos, TierKind};
use weir_tier::link::{Direction, Link};

use crate::fixture::{Log, config, lmcache, native, request};

/// Completes I/O requests by the host link's model.
struct HostMover {
    link: Link,
    /// Every n-th load fails; none for 0.
    fails_every: u32,
    loads: u32,
    dropped_chunks: u64,
    io_requests: Vec<IoRequest>,
}

impl HostMover {
    fn new(offload: &OffloadConfig, fails_every: u32) -> Self {
        let link = Link::new(offload.tiers[0].link.clone());
        Self { link, fails_every, loads: 0, dropped_chunks: 0, io_requests: Vec::new() }
    }

    fn handle(&mut self, now: Nanos, cluster: &mut Cluster) {
        cluster.take_io_requests(&mut self.io_requests);
        for request in self.io_requests.drain(..) {
            match request {
                IoRequest::Transfer { replica, transfer } => {
                    let direction = match transfer.kind {
                        TransferKind::Store => Direction::Write,
                        TransferKind::Load => Direction::Read,
                    };
                    let done = self.link.transfer(now, direction, transfer.copies, transfer.bytes);
                    self.loads += u32::from(transfer.kind == TransferKind::Load);
                    let fails = transfer.kind == TransferKind::Load
                        && self.fails_every > 0
                        && self.loads.is_multiple_of(self.fails_every);
                    let outcome = if fails { TransferOutcome::Failed } else { TransferOutcome::Ok };
                    cluster.transfer_done(done, replica, transfer.id, outcome);
                }
                IoRequest::Lookup { .. } => unreachable!("there is no store"),
                IoRequest::Drop { tier, eviction, .. } => {
                    assert_eq!(tier, TierKind::Host);
                    self.dropped_chunks += u64::from(eviction.to_chunk - eviction.from_chunk);
                }
            }
        }
    }
}

/// Prompts with shared beginnings at intervals.
fn run(
    config: &ClusterConfig,
    asks: &[(u64, u32, u64)],
    mut mover: Option<&mut HostMover>,
) -> (Log, Cluster) {
    let mut cluster = Cluster::new(config.clone()).expect("the fixture is valid");
    if mover.is_some() {
        cluster.use_external_io();
    }
    let mut log = Log::default();
    let mut now = Nanos::ZERO;
    let mut settle = |cluster: &mut Cluster, log: &mut Log, until: Nanos| {
        while let Some(at) = cluster.next_at().filter(|at| *at <= until) {
            cluster.step(log);
            if let Some(mover) = mover.as_deref_mut() {
                mover.handle(at, cluster);
            }
        }
    };
    for (number, (prefix, own, gap)) in asks.iter().enumerate() {
        let number = number as u64;
        now += Nanos::from_millis(*gap);
        settle(&mut cluster, &mut log, now);
        let pieces = [(*prefix, 320), (1000 + number, *own)];
        cluster.submit(now, number, request(number, &pieces, 12), &mut log);
    }
    settle(&mut cluster, &mut log, Nanos::MAX);
    (log, cluster)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_mover_with_the_link_models_times_gives_the_models_results(
        asks in prop::collection::vec((0u64..5, 1u32..200, 0u64..60), 1..40),
        blocks in 40u32..120,
        host_tokens in 200u64..3000,
        in_pass in any::<bool>(),
    ) {
        let mut config = config(blocks);
        let offload = if in_pass {
            OffloadConfig { store: None, ..lmcache(LoadMode::InPass, host_tokens, 0) }
        } else {
            native(host_tokens)
        };
        config.offload = Some(offload.clone());
        let (modelled, of_model) = run(&config, &asks, None);
        let mut mover = HostMover::new(&offload, 0);
        let (moved, of_mover) = run(&config, &asks, Some(&mut mover));
        prop_assert_eq!(&moved.requests, &modelled.requests);
        prop_assert_eq!(&moved.steps, &modelled.steps);
        let last = |cluster: &Cluster| {
            let replica = cluster.replicas().next().expect("one replica");
            let cache = replica.engine().offload().and_then(|it| it.cache(TierKind::Host));
            (replica.counters(), cache.map(|cache| (cache.used(), cache.evicted())))
        };
        prop_assert_eq!(last(&of_mover), last(&of_model));
        let (_, cache) = last(&of_mover);
        prop_assert_eq!(cache.map(|(_, evicted)| evicted), Some(mover.dropped_chunks));
    }

    #[test]
    fn failed_loads_are_computed_and_are_not_hits(
        asks in prop::collection::vec((0u64..3, 1u32..200, 0u64..60), 1..40),
        in_pass in any::<bool>(),
    ) {
        let mut config = config(60);
        let offload = if in_pass {
            OffloadConfig { store: None, ..lmcache(LoadMode::InPass, 4000, 0) }
        } else {
            native(4000)
        };
        config.offload = Some(offload.clone());
        let mut mover = HostMover::new(&offload, 1);
        let (log, cluster) = run(&config, &asks, Some(&mut mover));
        prop_assert_eq!(log.requests.len(), asks.len());
        prop_assert!(log.requests.values().all(|request| request.tokens == 12));
        let counters = cluster.replicas().next().expect("one replica").counters();
        prop_assert_eq!(counters.tier_hit_tokens[TierKind::Host.index()], 0);
        prop_assert_eq!(counters.loaded_bytes, 0);
    }
}
