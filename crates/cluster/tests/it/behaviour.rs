//! The caller's contract, on small clusters.

use std::collections::BTreeSet;

use weir_cluster::{Cluster, ClusterConfig, Observer};
use weir_engine::OffloadConfig;
use weir_model::{Mechanism, Nanos, StepRow};
use weir_router::{IndexConfig, Normalization, PolicyConfig, ScorerWeights};

use crate::fixture::{Log, analytic, config, drain, native, request, step_to};

#[test]
fn a_cluster_can_be_moved_to_its_own_thread() {
    fn assert_send<T: Send>(_: &T) {}
    assert_send(&Cluster::new(config(10)).expect("the fixture is valid"));
}

#[test]
fn a_preempted_request_gets_each_of_its_tokens_once() {
    // 40 + 60 and 20 + 60 tokens do not fit in eight blocks together.
    let mut cluster = Cluster::new(config(8)).expect("the fixture is valid");
    let mut log = Log::default();
    cluster.submit(Nanos::ZERO, 7, request(0, &[(1, 40)], 60), &mut log);
    cluster.submit(Nanos::ZERO, 9, request(1, &[(2, 20)], 60), &mut log);
    drain(&mut cluster, &mut log);
    assert!(log.preemptions > 0);
    for tag in [7, 9] {
        let told = log.requests[&tag];
        assert_eq!(told.tokens, 60);
        assert!(told.first_token < told.finished && told.finished == told.last_token);
    }
}

#[test]
fn times_are_planned_ones_however_late_the_caller_is() {
    let run = |late: Nanos| {
        let mut cluster = Cluster::new(config(100)).expect("the fixture is valid");
        let mut log = Log::default();
        cluster.submit(Nanos::ZERO, 0, request(0, &[(1, 100)], 20), &mut log);
        step_to(&mut cluster, late, &mut log);
        drain(&mut cluster, &mut log);
        log
    };
    // 5 ms and 20 us for each of 100 tokens, then 19 passes of one token.
    let told = run(Nanos::ZERO).requests[&0];
    assert_eq!(told.first_token, Some(Nanos::from_millis(7)));
    assert_eq!(told.finished, Some(Nanos::from_millis(7) + Nanos::from_micros(5020) * 19));
    assert_eq!(run(Nanos::ZERO), run(Nanos::from_secs(3)));
}

#[test]
fn an_arrival_before_what_was_handled_counts_as_that_time() {
    let mut cluster = Cluster::new(config(100)).expect("the fixture is valid");
    let mut log = Log::default();
    cluster.submit(Nanos::ZERO, 0, request(0, &[(1, 100)], 1), &mut log);
    drain(&mut cluster, &mut log);
    cluster.submit(Nanos::from_millis(1), 1, request(1, &[(2, 100)], 1), &mut log);
    drain(&mut cluster, &mut log);
    assert_eq!(log.requests[&1].scheduled, Some(Nanos::from_millis(7)));
}

#[test]
fn who_is_given_up_makes_room_at_once() {
    // The second prompt fits only after the first.
    let mut cluster = Cluster::new(config(10)).expect("the fixture is valid");
    let mut log = Log::default();
    cluster.submit(Nanos::ZERO, 0, request(0, &[(1, 100)], 50), &mut log);
    cluster.submit(Nanos::ZERO, 1, request(1, &[(2, 100)], 5), &mut log);
    let now = Nanos::from_millis(20);
    step_to(&mut cluster, now, &mut log);
    assert_eq!(cluster.in_flight().map(|it| it.generated).collect::<Vec<_>>(), [3, 0]);
    cluster.abort(now, 0);
    assert_eq!(cluster.in_flight().map(|it| it.tag).collect::<Vec<_>>(), [1]);
    log.requests.get_mut(&0).expect("it was told of").aborted = true;
    drain(&mut cluster, &mut log);
    // The current pass ends before the second prompt starts.
    let pass_end = Nanos::from_millis(7) + Nanos::from_micros(5020) * 3;
    assert_eq!(log.requests[&1].scheduled, Some(pass_end));
    assert_eq!(log.requests[&1].tokens, 5);
}

/// Two replicas behind a router that hears their KV events.
fn precise(blocks: u32) -> ClusterConfig {
    let mut config = config(blocks);
    config.replicas = 2;
    config.router.policy = PolicyConfig::PrecisePrefix {
        weights: ScorerWeights::default(),
        normalization: Normalization::MinMax,
        block_tokens: 16,
        index: IndexConfig::default(),
        scrape_interval: PolicyConfig::SCRAPE_INTERVAL,
    };
    config
}

/// Where a prompt goes at last that was first, after others took its blocks on the GPU: whether to
/// the same replica, and the tokens found there and at the best one.
fn comes_back_to(mechanism: Mechanism) -> Vec<(bool, u32, u32)> {
    (0..8)
        .map(|seed| {
            let mut config = precise(8);
            config.offload = Some(OffloadConfig { mechanism, ..native(2000) });
            config.router.seed = seed;
            let mut cluster = Cluster::new(config).expect("the fixture is valid");
            let mut log = Log::default();
            let placed: Vec<_> = (0..16)
                .map(|tag| {
                    let (now, content) = (Nanos::from_secs(tag), 1 + tag % 15);
                    step_to(&mut cluster, now, &mut log);
                    cluster.submit(now, tag, request(tag, &[(content, 100)], 1), &mut log)
                })
                .collect();
            let (first, last) = (placed[0], placed[15]);
            drain(&mut cluster, &mut log);
            (first.replica == last.replica, last.routed_hit, last.best_hit)
        })
        .collect()
}

#[test]
fn a_tier_that_is_announced_draws_requests_and_one_that_is_not_does_not() {
    assert_eq!(comes_back_to(Mechanism::Native), [(true, 96, 96); 8]);
    let silent = comes_back_to(Mechanism::Lmcache);
    assert!(silent.iter().all(|(_, routed, best)| (*routed, *best) == (0, 0)), "{silent:?}");
    assert!(silent.iter().any(|(is_same, ..)| !is_same), "chance decides: {silent:?}");
}

#[test]
fn a_reset_waits_for_nobody_and_reaches_router_and_observer() {
    let mut cluster = Cluster::new(precise(100)).expect("the fixture is valid");
    let mut log = Log::default();
    let placed = cluster.submit(Nanos::ZERO, 0, request(0, &[(1, 100)], 5), &mut log);
    step_to(&mut cluster, Nanos::from_millis(8), &mut log);
    assert!(!cluster.reset_prefix_cache(Nanos::from_millis(8), false));
    drain(&mut cluster, &mut log);
    let again = cluster.submit(Nanos::from_secs(1), 1, request(1, &[(1, 100)], 1), &mut log);
    assert_eq!((again.replica, again.routed_hit), (placed.replica, 96));
    drain(&mut cluster, &mut log);
    assert!(cluster.router_stats().index_keys > 0);
    assert!(cluster.reset_prefix_cache(Nanos::from_secs(2), false));
    drain(&mut cluster, &mut log);
    assert_eq!((log.cleared, cluster.router_stats().index_keys), (2, 0));
    let after = cluster.submit(Nanos::from_secs(3), 2, request(2, &[(1, 100)], 1), &mut log);
    assert_eq!(after.best_hit, 0);
}

#[test]
fn the_router_sees_gauges_as_of_the_last_scrape() {
    let mut config = config(400);
    config.replicas = 2;
    config.router.policy = PolicyConfig::ApproximatePrefix {
        weights: ScorerWeights { queue: 0.0, kv_usage: 1.0, prefix: 0.0, no_hit_lru: 0.0 },
        block_tokens: 64,
        lru_blocks_per_replica: 1000,
        max_prefix_tokens: 1024,
        scrape_interval: Nanos::from_millis(50),
    };
    let mut cluster = Cluster::new(config).expect("the fixture is valid");
    let mut log = Log::default();
    // Holds blocks for 500 passes of 5 ms.
    let long = cluster.submit(Nanos::ZERO, 0, request(0, &[(1, 100)], 500), &mut log).replica;
    let mut replica_at = |millis: u64, tag: u64| {
        let now = Nanos::from_millis(millis);
        step_to(&mut cluster, now, &mut log);
        cluster.submit(now, tag, request(tag, &[(10 + tag, 16)], 1), &mut log).replica
    };
    // The pools were equal at 0 ms, so chance decides.
    let early: BTreeSet<u16> = (1..20).map(|tag| replica_at(10 + tag, tag)).collect();
    assert_eq!(early, BTreeSet::from([0, 1]));
    // At 50 ms only the long request held blocks.
    for tag in 20..40 {
        assert_ne!(replica_at(40 + tag, tag), long);
    }
}

#[test]
fn tiers_are_emptied_only_when_asked_for_and_at_rest() {
    let mut config = config(100);
    config.offload = Some(native(1000));
    let mut cluster = Cluster::new(config).expect("the fixture is valid");
    let mut log = Log::default();
    let mut now = Nanos::ZERO;
    let mut hits_after = |cluster: &mut Cluster, id: u64| {
        now += Nanos::from_secs(1);
        cluster.submit(now, id, request(id, &[(1, 97)], 1), &mut log);
        // The request has ended, and its stores are in flight.
        while cluster.in_flight().next().is_some() {
            assert!(cluster.step(&mut log));
        }
        assert!(id > 0 || !cluster.reset_prefix_cache(now, true), "stores are under way");
        drain(cluster, &mut log);
        now += Nanos::from_millis(500);
        cluster.replicas().next().expect("there is one").counters().loaded_bytes
    };
    assert_eq!(hits_after(&mut cluster, 0), 0);
    assert!(cluster.reset_prefix_cache(Nanos::from_millis(1600), false));
    let loaded = hits_after(&mut cluster, 1);
    assert!(loaded > 0, "the tier keeps what it has");
    assert!(cluster.reset_prefix_cache(Nanos::from_millis(3200), true));
    assert_eq!(hits_after(&mut cluster, 2), loaded, "nothing was left to load");
}

#[test]
fn what_went_over_the_links_is_counted() {
    let mut config = config(8);
    config.offload = Some(native(1000));
    let mut cluster = Cluster::new(config).expect("the fixture is valid");
    let mut log = Log::default();
    // The second prompt evicts the first; the third loads it again.
    for (id, pieces) in [(0, [(1, 97)]), (1, [(2, 127)]), (2, [(1, 97)])] {
        cluster.submit(Nanos::from_secs(id), id, request(id, &pieces, 1), &mut log);
        drain(&mut cluster, &mut log);
    }
    let replica = cluster.replicas().next().expect("there is one");
    let counters = replica.counters();
    let bytes: Vec<u64> = replica.links().iter().map(|link| link.bytes.0).collect();
    assert_eq!(bytes, [counters.stored_bytes, counters.loaded_bytes]);
    assert_eq!(bytes[1], 6 * 16 * 1000);
    assert!(replica.links().iter().all(|link| link.time > Nanos::ZERO));
}

#[test]
fn nobody_is_told_of_tokens_who_does_not_ask() {
    #[derive(Default)]
    struct Silent(Vec<StepRow>);
    impl Observer for Silent {
        fn token(&mut self, _at: Nanos, tag: u64) {
            panic!("{tag} got a token");
        }
        fn pass(&mut self, step: &StepRow) {
            self.0.push(*step);
        }
    }
    let mut cluster = Cluster::new(config(100)).expect("the fixture is valid");
    let mut silent = Silent::default();
    cluster.submit(Nanos::ZERO, 0, request(0, &[(1, 100)], 9), &mut silent);
    while cluster.step(&mut silent) {}
    assert_eq!(silent.0.len(), 9);
}

#[test]
fn the_front_end_takes_one_at_a_time_and_forgets_who_is_gone() {
    let mut config = config(100);
    let front_end = Nanos::from_millis(12);
    config.timing = analytic(front_end);
    let mut cluster = Cluster::new(config).expect("the fixture is valid");
    let mut log = Log::default();
    for tag in 0..3 {
        cluster.submit(Nanos::ZERO, tag, request(tag, &[(tag, 20)], 1), &mut log);
    }
    cluster.abort(Nanos::ZERO, 0);
    assert_eq!(cluster.in_flight().count(), 2);
    drain(&mut cluster, &mut log);
    // An aborted request still takes its front-end time.
    assert_eq!(log.requests.keys().copied().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(log.requests[&1].scheduled, Some(front_end * 2));
}
