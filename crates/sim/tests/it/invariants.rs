use proptest::prelude::*;
use weir_engine::{LoadMode, OffloadConfig};
use weir_model::{Mechanism, Nanos, Outcome, RequestRow, SignalKind, TierKind, Window};
use weir_router::{IndexConfig, Normalization, PolicyConfig, ScorerWeights};
use weir_sim::WorldConfig;

use crate::fixture::{Kept, lmcache_with_store, native, run, workload, world};

fn check_rows(kept: &Kept, issued: u64) {
    assert_eq!(kept.requests.len() as u64, issued, "each request has one row");
    for row in &kept.requests {
        let cached: u32 = row.cached_tokens.iter().map(|tokens| tokens.0).sum();
        assert!(cached < row.prompt_tokens.0, "at least one token is computed: {row:?}");
        assert!(row.seen_tokens <= row.prompt_tokens);
        assert!(
            row.gpu_hit_tokens().0 <= row.seen_tokens.0 || row.preemptions > 0,
            "what was never asked cannot be hit: {row:?}"
        );
        if row.outcome == Outcome::Done {
            let first = row.first_token.expect("a finished request has a first token");
            assert!(row.due <= first && first <= row.end);
        }
    }
}

fn offloads() -> impl Strategy<Value = Option<OffloadConfig>> {
    prop_oneof![
        Just(None),
        (0u64..6000).prop_map(|tokens| Some(native(tokens))),
        (0u64..4000, 0u64..9000).prop_map(|(host, store)| Some(lmcache_with_store(host, store))),
    ]
}

fn policies() -> impl Strategy<Value = PolicyConfig> {
    let weights = ScorerWeights::default();
    prop_oneof![
        Just(PolicyConfig::Random),
        Just(PolicyConfig::RoundRobin),
        Just(PolicyConfig::LeastLoaded),
        Just(PolicyConfig::ApproximatePrefix {
            weights,
            block_tokens: 64,
            lru_blocks_per_replica: 100,
            max_prefix_tokens: 8192,
            scrape_interval: PolicyConfig::SCRAPE_INTERVAL,
        }),
        Just(PolicyConfig::PrecisePrefix {
            weights,
            normalization: Normalization::MinMax,
            block_tokens: 16,
            index: IndexConfig::default(),
            scrape_interval: PolicyConfig::SCRAPE_INTERVAL,
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_is_lost(
        offload in offloads(),
        policy in policies(),
        replicas in 1u16..4,
        blocks in 70u32..300,
        users in 1u32..30,
        prefixes in 1u64..8,
        turns in 1u32..4,
        seed in 0u64..1000,
    ) {
        let mut config = world(blocks, users, 120);
        config.offload = offload;
        config.router.policy = policy;
        config.replicas = replicas;
        let workload = workload(prefixes, 512, turns);
        let (kept, summary) = run(config.clone(), &workload, seed);
        check_rows(&kept, summary.issued);
        prop_assert_eq!(summary.issued, 120);
        prop_assert_eq!(summary.unfinished, 0);
        // Little's law without rounding.
        prop_assert_eq!(summary.flow_integral, summary.residence_sum);
        let residence: u128 =
            kept.requests.iter().map(|row| u128::from((row.end - row.due).0)).sum();
        prop_assert_eq!(summary.residence_sum, residence);
        let (again, same) = run(config, &workload, seed);
        prop_assert_eq!(again.requests, kept.requests);
        prop_assert_eq!(again.steps, kept.steps);
        prop_assert_eq!(same, summary);
    }
}

#[test]
fn a_drain_cuts_the_cell_and_the_flow_identity_still_holds() {
    let mut config = world(300, 20, 100_000);
    config.max_requests = None;
    config.duration = Some(Nanos::from_secs(7));
    config.drain = Nanos::ZERO;
    let (kept, summary) = run(config, &workload(4, 512, 2), 3);
    check_rows(&kept, summary.issued);
    assert_eq!(summary.end, Nanos::from_secs(7));
    assert!(summary.unfinished > 0);
    assert_eq!(summary.flow_integral, summary.residence_sum);
    // Tokens inside the window, by passes and by rows.
    let by_rows: u64 = kept.requests.iter().map(|row| u64::from(row.output_tokens.0)).sum();
    let firsts = kept.requests.iter().filter(|row| row.first_token.is_some()).count() as u64;
    let by_steps: u64 = kept.steps.iter().map(|step| u64::from(step.decoding)).sum();
    assert_eq!(by_rows, by_steps + firsts);
}

#[test]
fn what_was_due_in_the_window_is_followed_while_the_load_goes_on() {
    let mut config = world(300, 20, 100_000);
    config.max_requests = None;
    config.warmup = Nanos::from_secs(2);
    config.duration = Some(Nanos::from_secs(7));
    let window = Window { start: Nanos::from_secs(2), end: Nanos::from_secs(7) };
    let (kept, summary) = run(config, &workload(4, 512, 2), 3);
    check_rows(&kept, summary.issued);
    let measured: Vec<&RequestRow> =
        kept.requests.iter().filter(|row| window.measures(row.due)).collect();
    assert!(measured.len() > 20 && measured.iter().all(|row| row.outcome == Outcome::Done));
    assert_eq!(summary.unfinished, 0);
    // Some ended after the window, under the same load.
    let last_end = measured.iter().map(|row| row.end).max().unwrap();
    assert!(last_end > window.end && summary.end >= last_end, "{last_end} {}", summary.end);
    let in_flight =
        |at: Nanos| kept.requests.iter().filter(|row| row.due <= at && (row.end > at)).count();
    // Some users think between turns.
    assert!(in_flight(last_end - Nanos(1)) + 3 > in_flight(window.end), "{last_end}");
    assert_eq!(summary.flow_integral, summary.residence_sum);
    // Signals cover the same requests.
    let prompts: u32 = measured.iter().map(|row| row.prompt_tokens.0).sum();
    assert_eq!(summary.signals.get(SignalKind::PromptTokens), Some(f64::from(prompts)));
}

#[test]
fn a_tier_serves_what_the_gpu_had_to_evict() {
    // Eight prefixes of 32 blocks against a pool of 120.
    let workload = workload(8, 512, 1);
    let without = run(world(120, 2, 300), &workload, 5).1;
    let mut config = world(120, 2, 300);
    config.offload = Some(native(20_000));
    let (kept, with) = run(config, &workload, 5);
    let signal = |kind| with.signals.get(kind).expect("the simulator sees it");
    assert!(signal(SignalKind::StoredBytes) > 0.0);
    assert!(signal(SignalKind::HostHitTokens) > 0.5 * signal(SignalKind::EligibleTokens));
    assert!(with.end < without.end, "loading at 1 GB/s beats computing");
    let host: u64 = kept
        .requests
        .iter()
        .map(|row| u64::from(row.cached_tokens[TierKind::Host.index()].0))
        .sum();
    assert_eq!(host as f64, signal(SignalKind::HostHitTokens));
}

/// LMCache's server looks up from the first token on, so its hits include the GPU's.
#[test]
fn only_an_lmcache_server_says_what_lookups_found() {
    for mechanism in [Mechanism::Native, Mechanism::LmcacheServer] {
        let mut config = world(120, 2, 300);
        config.offload = Some(OffloadConfig { mechanism, load: LoadMode::Async, ..native(20_000) });
        let (_, summary) = run(config, &workload(8, 512, 1), 5);
        let seen = &summary.signals.0[&SignalKind::HostHitTokens];
        let at_lookup: Vec<bool> = seen.iter().map(|signal| signal.source.at_lookup).collect();
        if mechanism == Mechanism::LmcacheServer {
            assert_eq!(at_lookup, [false, true]);
            assert!(seen[1].value > seen[0].value && seen[0].value > 0.0, "{seen:?}");
        } else {
            assert_eq!(at_lookup, [false]);
        }
    }
}

#[test]
fn a_store_that_replicas_share_serves_what_another_replica_wrote() {
    let mut config = world(200, 4, 200);
    config.replicas = 2;
    config.router.policy = PolicyConfig::RoundRobin;
    config.offload = Some(lmcache_with_store(2_000, 50_000));
    let (_, summary) = run(config, &workload(6, 512, 1), 8);
    let remote = summary.signals.get(SignalKind::RemoteHitTokens);
    assert!(remote.expect("it is seen") > 0.0);
}

#[test]
fn a_prompt_longer_than_the_pool_fails_alone() {
    let (kept, summary) = run(world(30, 2, 10), &workload(1, 512, 1), 1);
    assert_eq!(summary.issued, 10);
    assert!(kept.requests.iter().all(|row| row.outcome == Outcome::Failed));
    let error = kept.requests[0].error.clone().expect("a failure has a cause");
    assert!(error.contains("blocks are needed, and the pool has 30"), "{error}");
}

#[test]
fn what_another_replica_computed_is_not_eligible_for_a_tier_of_ones_own() {
    let eligible = |offload| {
        let mut config = world(200, 1, 4);
        config.replicas = 2;
        config.router.policy = PolicyConfig::RoundRobin;
        config.offload = Some(offload);
        // A replica's prefixes stay on its GPU, so a tier adds only the other replica's.
        let (_, summary) = run(config, &workload(1, 512, 1), 8);
        let signal = |kind| summary.signals.get(kind).expect("the simulator sees it");
        assert!(signal(SignalKind::SeenTokens) >= 3.0 * 512.0);
        signal(SignalKind::EligibleTokens)
    };
    assert_eq!(eligible(native(50_000)), 0.0);
    assert_eq!(eligible(lmcache_with_store(2_000, 50_000)), 512.0);
}

#[test]
fn loaded_sequences_never_block_each_other() {
    let mut config = world(73, 3, 120);
    config.offload = Some(native(560));
    let (_, summary) = run(config, &workload(7, 512, 1), 202);
    assert_eq!(summary.unfinished, 0);
}

/// LMCache in the engine makes the scheduler wait for its store, so GPU hits do not overtake
/// lookups. With an empty store an arm serves the same in the same order, a little later.
#[test]
fn an_arm_that_serves_nothing_is_not_faster_than_its_control() {
    // 40 prefixes; the pool holds 16.
    let workload = workload(40, 2000, 1);
    for seed in 1..=4 {
        let control = world(2000, 24, 600);
        let mut asks = lmcache_with_store(256, 256);
        let store = asks.store.as_mut().unwrap();
        (store.lookup_latency, store.lookup_per_key) =
            (Nanos::from_millis(2), Nanos::from_micros(100));
        let arm = WorldConfig { offload: Some(asks), ..control.clone() };
        let (_, control) = run(control, &workload, seed);
        let (_, arm) = run(arm, &workload, seed);
        let hits = arm.signals.get(SignalKind::ExternalHitTokens).unwrap_or(0.0);
        let prompt = arm.signals.get(SignalKind::PromptTokens).unwrap();
        assert!(hits < 0.01 * prompt, "{hits} of {prompt}");
        let faster = control.end.as_secs_f64() / arm.end.as_secs_f64() - 1.0;
        assert!((-0.04..0.01).contains(&faster), "seed {seed}: {faster:+.3}");
    }
}
