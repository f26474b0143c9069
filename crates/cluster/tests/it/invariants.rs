//! Invariants under arrivals, aborts, overload and resets, with every mechanism and policy.

use proptest::prelude::*;
use weir_cluster::{Cluster, ClusterConfig, Replica};
use weir_engine::offload::Offload;
use weir_engine::{LoadMode, OffloadConfig};
use weir_model::Nanos;
use weir_router::{IndexConfig, Normalization, PolicyConfig, ScorerWeights};

use crate::fixture::{Log, analytic, config, drain, lmcache, native, request, step_to};

#[derive(Debug, Clone)]
enum Deed {
    /// Prefix, own tokens and answer tokens.
    Ask(u64, u32, u32),
    /// Aborts a request, in flight or not.
    Vanish(prop::sample::Index),
    /// Aborts the last request, perhaps in the front end.
    VanishAtOnce,
    Reset,
}

fn deeds() -> impl Strategy<Value = Vec<(u64, Deed)>> {
    let ask = (0u64..6, 1u32..120, 1u32..60).prop_map(|(a, b, c)| Deed::Ask(a, b, c));
    let deed = prop_oneof![
        10 => ask,
        4 => any::<prop::sample::Index>().prop_map(Deed::Vanish),
        1 => Just(Deed::VanishAtOnce),
        1 => Just(Deed::Reset),
    ];
    // Microseconds since the last action: within a pass, or long after it.
    let gap = prop_oneof![4 => Just(0), 6 => 0u64..12_000, 1 => 0u64..3_000_000];
    prop::collection::vec((gap, deed), 1..60)
}

fn offloads() -> impl Strategy<Value = Option<OffloadConfig>> {
    let modes = prop_oneof![Just(LoadMode::InPass), Just(LoadMode::Async)];
    prop_oneof![
        Just(None),
        (0u64..3000).prop_map(|tokens| Some(native(tokens))),
        (modes, 0u64..2000, 0u64..5000)
            .prop_map(|(mode, host, store)| Some(lmcache(mode, host, store))),
    ]
}

fn policies() -> impl Strategy<Value = PolicyConfig> {
    let weights = ScorerWeights::default();
    prop_oneof![
        Just(PolicyConfig::Random),
        Just(PolicyConfig::LeastLoaded),
        Just(PolicyConfig::PrecisePrefix {
            weights,
            normalization: Normalization::MinMax,
            block_tokens: 16,
            index: IndexConfig::default(),
            scrape_interval: PolicyConfig::SCRAPE_INTERVAL,
        }),
    ]
}

/// Also returns the number of resets.
fn play(config: &ClusterConfig, deeds: &[(u64, Deed)]) -> (Log, Cluster, u32) {
    let mut cluster = Cluster::new(config.clone()).expect("the fixture is valid");
    let (mut log, mut now, mut asked, mut resets) = (Log::default(), Nanos::ZERO, 0u64, 0);
    for (gap, deed) in deeds {
        now += Nanos::from_micros(*gap);
        step_to(&mut cluster, now, &mut log);
        match deed {
            Deed::Ask(prefix, own, output) => {
                let pieces = [(*prefix, 256), (1000 + asked, *own)];
                log.requests.entry(asked).or_default();
                cluster.submit(now, asked, request(asked, &pieces, *output), &mut log);
                asked += 1;
            }
            Deed::Vanish(who) if asked > 0 => vanish(
                &mut cluster,
                now,
                who.index(usize::try_from(asked).expect("few asked")) as u64,
                &mut log,
            ),
            Deed::VanishAtOnce if asked > 0 => vanish(&mut cluster, now, asked - 1, &mut log),
            Deed::Vanish(_) | Deed::VanishAtOnce => {}
            Deed::Reset => {
                let held = cluster.replicas().any(|it| it.engine().pool().used_blocks() > 0);
                let emptied = cluster.reset_prefix_cache(now, false);
                assert_eq!(emptied, !held);
                resets += u32::from(emptied);
            }
        }
    }
    drain(&mut cluster, &mut log);
    (log, cluster, resets)
}

fn vanish(cluster: &mut Cluster, now: Nanos, tag: u64, log: &mut Log) {
    cluster.abort(now, tag);
    let told = log.requests.get_mut(&tag).expect("it was asked");
    if !told.is_over() {
        told.aborted = true;
    }
    assert!(cluster.in_flight().all(|it| it.tag != tag));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nothing_is_lost_and_nothing_is_told_of_who_is_gone(
        deeds in deeds(),
        offload in offloads(),
        policy in policies(),
        replicas in 1u16..4,
        blocks in 18u32..120,
        has_front_end: bool,
    ) {
        let mut config = config(blocks);
        if has_front_end {
            config.timing = analytic(Nanos::from_millis(3));
        }
        config.offload = offload;
        config.router.policy = policy;
        config.replicas = replicas;
        let (log, mut cluster, resets) = play(&config, &deeds);

        prop_assert!(cluster.is_idle());
        prop_assert_eq!(cluster.next_at(), None);
        prop_assert_eq!(cluster.in_flight().count(), 0);
        for replica in cluster.replicas() {
            prop_assert_eq!(replica.engine().waiting() + replica.running(), 0);
            prop_assert_eq!(replica.engine().pool().used_blocks(), 0);
            let offload = replica.engine().offload();
            prop_assert_eq!(offload.map_or(0, Offload::open_transfers), 0);
        }
        let now = log.steps.last().map_or(Nanos::ZERO, |step| step.end);
        prop_assert!(cluster.reset_prefix_cache(now, true), "a request is in flight");
        for (tag, told) in &log.requests {
            prop_assert!(told.is_over(), "{} was left without an end: {:?}", tag, told);
        }
        let tokens: u64 = log.requests.values().map(|it| u64::from(it.tokens)).sum();
        let firsts = log.requests.values().filter(|it| it.first_token.is_some()).count() as u64;
        let decoded: u64 = log.steps.iter().map(|step| u64::from(step.decoding)).sum();
        prop_assert_eq!(tokens, decoded + firsts);
        prop_assert_eq!(log.cleared, resets * u32::from(replicas));
        let links = cluster.replicas().flat_map(Replica::links);
        let moved: u64 = links.map(|it| it.transfers).sum();
        prop_assert_eq!(moved, log.transfers);
        // The same actions give the same log.
        prop_assert_eq!(play(&config, &deeds).0, log);
    }
}
