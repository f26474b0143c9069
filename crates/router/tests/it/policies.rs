use weir_model::{ContentId, Nanos, Piece, Prompt};
use weir_router::{
    IndexConfig, Normalization, PolicyConfig, ReplicaLoad, Router, RouterConfig, RouterStats,
    RoutingDecision, ScorerWeights,
};

use crate::suite::stored;

fn router(policy: PolicyConfig, replicas: u16) -> Router {
    Router::new(&RouterConfig { policy, seed: 889 }, replicas)
}

fn approximate() -> PolicyConfig {
    PolicyConfig::ApproximatePrefix {
        weights: ScorerWeights::default(),
        block_tokens: 64,
        lru_blocks_per_replica: 31_250,
        max_prefix_tokens: 131_072,
        scrape_interval: PolicyConfig::SCRAPE_INTERVAL,
    }
}

fn precise() -> PolicyConfig {
    PolicyConfig::PrecisePrefix {
        weights: ScorerWeights::default(),
        normalization: Normalization::MinMax,
        block_tokens: 16,
        index: IndexConfig::default(),
        scrape_interval: PolicyConfig::SCRAPE_INTERVAL,
    }
}

fn prompt(prefix: u64, question: u64) -> Prompt {
    Prompt::new([Piece::new(ContentId(prefix), 10_000), Piece::new(ContentId(question), 141)])
}

fn idle(replicas: usize) -> Vec<ReplicaLoad> {
    vec![ReplicaLoad { in_flight: 0, waiting: 0, kv_usage: 0.5 }; replicas]
}

fn replicas_of(router: &mut Router, decisions: u64) -> Vec<u16> {
    (0..decisions)
        .map(|index| router.place(Nanos(index), &prompt(1, 1000 + index), &idle(4)).replica)
        .collect()
}

#[test]
fn random_spreads_and_repeats_with_its_seed() {
    let mut random = router(PolicyConfig::Random, 4);
    let first = replicas_of(&mut random, 8000);
    // 2000 expected; 200 is more than five standard deviations of sqrt(8000 x 1/4 x 3/4) = 38.7.
    for count in &random.stats().decisions {
        assert!(count.abs_diff(2000) < 200, "{count}");
    }
    random.reset();
    assert_eq!(random.stats().decisions, [0; 4]);
    assert_eq!(replicas_of(&mut random, 8000), first);
    let other = RouterConfig { policy: PolicyConfig::Random, seed: 890 };
    assert_ne!(replicas_of(&mut Router::new(&other, 4), 8000), first);
}

#[test]
fn round_robin_takes_turns() {
    let mut turns = router(PolicyConfig::RoundRobin, 4);
    assert_eq!(replicas_of(&mut turns, 6), [0, 1, 2, 3, 0, 1]);
    turns.reset();
    assert_eq!(replicas_of(&mut turns, 1), [0]);
}

#[test]
fn least_loaded_looks_at_requests_in_flight_only() {
    let mut router = router(PolicyConfig::LeastLoaded, 3);
    let loads = [
        ReplicaLoad { in_flight: 5, waiting: 0, kv_usage: 0.0 },
        ReplicaLoad { in_flight: 3, waiting: 2, kv_usage: 1.0 },
        ReplicaLoad { in_flight: 4, waiting: 0, kv_usage: 0.0 },
    ];
    let decision = router.place(Nanos::ZERO, &prompt(1, 2), &loads);
    let expected = RoutingDecision {
        replica: 1,
        matched_tokens: 0,
        uniform_matched_tokens: 0.0,
        delay: Nanos::ZERO,
    };
    assert_eq!(decision, expected);
    assert_eq!(router.place(Nanos::ZERO, &prompt(1, 2), &loads[..2]).replica, 2);
    assert_eq!(router.place(Nanos::ZERO, &prompt(1, 2), &[]).replica, 0);
}

#[test]
fn approximate_prefixes_stick_to_where_they_went() {
    let mut router = router(approximate(), 2);
    // A fuller pool, so that chance has no choice.
    let mut loads = idle(2);
    loads[0].kv_usage = 0.6;
    let first = router.place(Nanos::ZERO, &prompt(1, 50), &loads);
    assert_eq!((first.replica, first.matched_tokens, first.delay), (1, 0, Nanos::ZERO));
    // The same prefix again: 10,141 tokens are 158 blocks of 64, of which 10,000 / 64 = 156 agree.
    loads = idle(2);
    let again = router.place(Nanos::ZERO, &prompt(1, 51), &loads);
    assert_eq!((again.replica, again.matched_tokens), (1, 156 * 64));
    assert_eq!(again.uniform_matched_tokens, 78.0 * 64.0);
    let stats = router.stats();
    let expected = RouterStats {
        decisions: vec![0, 2],
        index_events: 0,
        index_keys: 156 + 2 + 2,
        lookups: 2,
        lookup_hits: 1,
    };
    assert_eq!(stats, expected);
    router.reset();
    loads[1].kv_usage = 0.6;
    assert_eq!(router.place(Nanos::ZERO, &prompt(1, 52), &loads).replica, 0);
}

#[test]
fn chance_breaks_ties_and_repeats_with_its_seed() {
    let mut router = router(precise(), 4);
    let first = replicas_of(&mut router, 4000);
    // 1000 expected; 150 is more than five standard deviations of sqrt(4000 x 3/16) = 27.4.
    for count in &router.stats().decisions {
        assert!(count.abs_diff(1000) < 150, "{count}");
    }
    router.reset();
    assert_eq!(replicas_of(&mut router, 4000), first);
    // Without a tie nothing is drawn.
    router.reset();
    let mut loads = idle(4);
    loads[2].kv_usage = 0.4;
    for _ in 0..10 {
        assert_eq!(router.place(Nanos::ZERO, &prompt(1, 9), &loads).replica, 2);
    }
    assert_eq!(replicas_of(&mut router, 4000), first);
}

#[test]
fn cold_prompts_go_round_by_the_optional_scorer() {
    let mut policy = approximate();
    if let PolicyConfig::ApproximatePrefix { weights, .. } = &mut policy {
        weights.no_hit_lru = 1.0;
    }
    let mut router = router(policy, 3);
    let mut place =
        |prefix| router.place(Nanos::ZERO, &prompt(prefix, 1000 + prefix), &idle(3)).replica;
    assert_eq!([1, 2, 3, 4, 5].map(&mut place), [0, 1, 2, 0, 1]);
    // A warm one does not change the order.
    assert_eq!([1, 6].map(&mut place), [0, 2]);
}

#[test]
fn a_full_queue_outweighs_a_cached_prefix() {
    let mut router = router(approximate(), 2);
    let mut fuller = idle(2);
    fuller[1].kv_usage = 0.6;
    assert_eq!(router.place(Nanos::ZERO, &prompt(1, 50), &fuller).replica, 0);
    // Replica 0: queue 0, usage 2 x 0.1, prefix 3 x 156/158 = 3.16; replica 1: 2 + 2 x 0.6 = 3.2.
    let loads = [
        ReplicaLoad { in_flight: 59, waiting: 9, kv_usage: 0.9 },
        ReplicaLoad { in_flight: 50, waiting: 0, kv_usage: 0.4 },
    ];
    let decision = router.place(Nanos::ZERO, &prompt(1, 51), &loads);
    assert_eq!((decision.replica, decision.matched_tokens), (1, 0));
    assert_eq!(decision.uniform_matched_tokens, 78.0 * 64.0);
}

#[test]
fn precise_prefixes_follow_the_events() {
    let mut router = router(precise(), 2);
    let asked = prompt(1, 50);
    let mut loads = idle(2);
    loads[1].kv_usage = 0.6;
    let before = router.place(Nanos::ZERO, &asked, &loads);
    assert_eq!((before.replica, before.matched_tokens), (0, 0));
    assert_eq!(before.delay, Nanos::from_micros(100));
    // The index learns from the engine of replica 1, not from the placement on replica 0.
    router.apply(Nanos::ZERO, 1, &stored(&asked));
    router.apply(Nanos::ZERO, 9, &stored(&asked));
    let after = router.place(Nanos::ZERO, &asked, &idle(2));
    assert_eq!((after.replica, after.matched_tokens), (1, 633 * 16));
    assert_eq!(after.uniform_matched_tokens, 633.0 * 16.0 / 2.0);
    let expected = RouterStats {
        decisions: vec![1, 1],
        index_events: 1,
        index_keys: 633,
        lookups: 2,
        lookup_hits: 1,
    };
    assert_eq!(router.stats(), expected);
}

#[test]
fn a_router_without_replicas_has_one() {
    let mut router = router(precise(), 0);
    let empty = Prompt::new([]);
    assert_eq!(router.place(Nanos::ZERO, &empty, &[]).replica, 0);
    assert_eq!(router.stats().decisions, [1]);
}
