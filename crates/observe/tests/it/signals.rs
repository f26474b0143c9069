use weir_model::{
    ChoiceHits, Nanos, Outcome, RequestRow, SignalKind as Kind, SignalSource, Signals, TierKind,
    Tokens, Window,
};
use weir_observe::signals::{
    AnsweredBy, AskedLoad, Objects, PromptTotals, ReplicaTotals, add_choices, add_client,
    add_lmcache_in_process, add_lmcache_server, add_router, add_vllm,
};
use weir_observe::{Snapshot, SnapshotDifference};

use crate::{captured, snapshot};

fn of_texts(
    before: &str,
    after: &str,
    add: impl Fn(&[SnapshotDifference<'_>], &mut Signals) -> Vec<weir_observe::GapError>,
) -> (Signals, Vec<String>) {
    let (before, after) = (snapshot(before, 10), snapshot(after, 20));
    let mut signals = Signals::default();
    let gaps = add(&[SnapshotDifference::new(&before, &after).unwrap()], &mut signals);
    (signals, gaps.iter().map(ToString::to_string).collect())
}

fn sources(signals: &Signals, kind: Kind) -> Vec<(f64, SignalSource)> {
    let seen = signals.0.get(&kind).into_iter().flatten();
    seen.map(|signal| (signal.value, signal.source.clone())).collect()
}

#[test]
fn a_real_scrape_with_offloading_gives_the_signals_that_decide() {
    // The engine's whole life is in the window: its counters began at zero.
    let (signals, gaps) = of_texts("", &captured("metrics-offload.txt"), add_vllm);
    assert_eq!(gaps, [""; 0]);
    assert_eq!(
        sources(&signals, Kind::ExternalHitTokens),
        [
            (
                128.0,
                SignalSource::of("vLLM's /metrics")
                    .metric("vllm:prompt_tokens_by_source_total{source=\"external_kv_transfer\"}")
            ),
            (
                128.0,
                SignalSource::of("vLLM's /metrics").metric("vllm:external_prefix_cache_hits_total")
            ),
        ]
    );
    for (kind, value) in [
        (Kind::PromptTokens, 650.0),
        (Kind::GpuHitTokens, 0.0),
        (Kind::ExternalQueryTokens, 650.0),
        (Kind::HostHitTokens, 128.0),
        (Kind::DiskHitTokens, 0.0),
        (Kind::RemoteHitTokens, 0.0),
        (Kind::StoredBytes, 524_288.0),
        (Kind::LoadedBytes, 131_072.0),
        (Kind::Preemptions, 0.0),
        (Kind::Replicas, 1.0),
    ] {
        assert_eq!(signals.get(kind), Some(value), "{kind:?}");
    }
    // Declared without a sample: no store failed yet.
    assert_eq!(signals.get_of(TierKind::Host, Kind::StoreFailures), Some(0.0));
    // vLLM has no such metrics, and one replica has no choice.
    for kind in [Kind::EvictedBytes, Kind::TierUsedBytes, Kind::SeenTokens, Kind::RoutingChoices] {
        assert_eq!(signals.get(kind), None, "{kind:?}");
    }
    // Both generations of the byte counters agree.
    assert_eq!(sources(&signals, Kind::StoredBytes).len(), 2);
    assert!(sources(&signals, Kind::StoredBytes).iter().all(|(value, _)| *value == 524_288.0));
}

#[test]
fn a_real_scrape_without_a_connector_has_no_offload_signals() {
    let (signals, gaps) =
        of_texts(&captured("metrics-idle.txt"), &captured("metrics.txt"), add_vllm);
    assert_eq!(gaps, [""; 0]);
    let prompt = signals.get(Kind::PromptTokens).unwrap();
    let gpu = sources(&signals, Kind::GpuHitTokens);
    assert!(prompt > 0.0 && gpu[0].0 <= prompt, "{gpu:?} of {prompt}");
    assert_eq!(signals.get(Kind::ExternalQueryTokens), Some(0.0), "counted by every vLLM");
    for kind in [Kind::StoredBytes, Kind::LoadedBytes, Kind::StoreFailures] {
        assert_eq!(signals.get(kind), None, "{kind:?}: no connector, no family, no signal");
    }
}

/// vLLM's relevant counters, with a label `engine`.
fn engine(id: u32, prompt: u32, unspecified: u32, host: u32, ended: u32) -> String {
    format!(
        "vllm:num_requests_running{{engine=\"{id}\"}} 0\n\
         vllm:prompt_tokens_total{{engine=\"{id}\"}} {prompt}\n\
         vllm:prompt_tokens_cached_by_source_total{{engine=\"{id}\",source=\"host\"}} {host}\n\
         vllm:prompt_tokens_cached_by_source_total{{engine=\"{id}\",\
         source=\"external_unspecified\"}} {unspecified}\n\
         vllm:request_success_total{{engine=\"{id}\",finished_reason=\"stop\"}} {ended}\n\
         vllm:request_success_total{{engine=\"{id}\",finished_reason=\"length\"}} 0\n"
    )
}

#[test]
fn hits_of_unknown_origin_take_the_split_away() {
    let (signals, _) = of_texts(&engine(0, 0, 0, 0, 0), &engine(0, 9, 0, 5, 0), add_vllm);
    assert_eq!(signals.get(Kind::HostHitTokens), Some(5.0));
    let (signals, _) = of_texts(&engine(0, 0, 0, 0, 0), &engine(0, 9, 1, 5, 0), add_vllm);
    assert_eq!(signals.get(Kind::HostHitTokens), None);
}

#[test]
fn replicas_add_up_whether_they_share_an_endpoint_or_not() {
    let at = |endpoint: &str, text: &str, second| {
        let mut taken: Snapshot = snapshot(text, second);
        endpoint.clone_into(&mut taken.endpoint);
        taken
    };
    let none = engine(0, 0, 0, 0, 0);
    let (a, b) = (engine(0, 100, 0, 0, 6), engine(0, 50, 0, 0, 2));
    let both = [
        (at("http://a", &none, 10), at("http://a", &a, 20)),
        (at("http://b", &none, 10), at("http://b", &b, 20)),
    ];
    let windows =
        both.each_ref().map(|(first, last)| SnapshotDifference::new(first, last).unwrap());
    let mut signals = Signals::default();
    assert_eq!(add_vllm(&windows, &mut signals), []);
    let expect = |signals: &Signals| {
        assert_eq!(signals.get(Kind::PromptTokens), Some(150.0));
        assert_eq!(signals.get(Kind::Replicas), Some(2.0));
        assert_eq!(signals.get(Kind::RoutingChoices), Some(8.0));
        assert_eq!(signals.get(Kind::RoutingMaxSharePercent), Some(75.0));
    };
    expect(&signals);
    let (signals, _) = of_texts(
        &format!("{none}{}", engine(1, 0, 0, 0, 0)),
        &format!("{a}{}", engine(1, 50, 0, 0, 2)),
        add_vllm,
    );
    expect(&signals);

    // One replica without the family: the sum over the other would be wrong.
    let bare = (at("http://b", "", 10), at("http://b", "vllm:other 1\n", 20));
    let windows = [windows[0], SnapshotDifference::new(&bare.0, &bare.1).unwrap()];
    let mut signals = Signals::default();
    assert_eq!(add_vllm(&windows, &mut signals), []);
    assert_eq!((signals.get(Kind::PromptTokens), signals.get(Kind::Replicas)), (None, None));
    // Without engines: None, not zero.
    let mut signals = Signals::default();
    add_vllm(&[], &mut signals);
    assert!(signals.0.is_empty(), "{signals:?}");
}

#[test]
fn a_restart_takes_its_signals_and_only_them() {
    let before = "vllm:prompt_tokens_total 500\nvllm:num_preemptions_total 1\n";
    let after = "vllm:prompt_tokens_total 30\nvllm:num_preemptions_total 2\n";
    let (signals, gaps) = of_texts(before, after, add_vllm);
    assert_eq!(signals.get(Kind::PromptTokens), None);
    assert_eq!(signals.get(Kind::Preemptions), Some(1.0));
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!(gaps[0].contains("`vllm:prompt_tokens_total` fell from 500 to 30"), "{gaps:?}");
}

/// Names of LMCache 0.5.6's server.
const LMCACHE: &str = "lmcache_mp_lookup_requested_tokens_total{model_name=\"m\"} 4096\n\
    lmcache_mp_lookup_hit_tokens_total{model_name=\"m\"} 1536\n\
    lmcache_mp_lookup_hit_l1_tokens_total{model_name=\"m\"} 1024\n\
    lmcache_mp_lookup_hit_l2_tokens_total{model_name=\"m\"} 512\n\
    lmcache_mp_num_chunks_loaded_total{worker_id=\"0\"} 6\n\
    lmcache_mp_num_chunks_loaded_total{worker_id=\"1\"} 6\n\
    lmcache_mp_l1_write_chunks_total 20\n\
    lmcache_mp_l2_prefetch_load_completed_chunks_total{l2_name=\"resp\"} 4\n\
    lmcache_mp_l1_evicted_chunks_total 7\n\
    lmcache_mp_l1_allocation_failure_chunks_total{during=\"l1_store\"} 2\n\
    lmcache_mp_l1_allocation_failure_chunks_total{during=\"l2_prefetch\"} 7\n\
    lmcache_mp_l1_memory_usage_bytes 1000\n\
    lmcache_mp_l2_usage_bytes{l2_name=\"resp\"} 500\n\
    lmcache_mp_l2_store_completed_objects_chunks_total 12\n\
    lmcache_mp_l2_evicted_objects_chunks_total 1\n";

const OBJECTS: Objects = Objects {
    chunk_tokens: 256,
    chunk_bytes: 256_000,
    ranks: 2,
    second_level: Some(TierKind::Remote),
};

#[test]
fn an_lmcache_server_counts_chunks_per_rank() {
    let add = |windows: &[SnapshotDifference<'_>], signals: &mut Signals| {
        add_lmcache_server(windows, &OBJECTS, signals)
    };
    let (signals, gaps) = of_texts("", LMCACHE, add);
    assert_eq!(gaps, [""; 0]);
    for (kind, value) in [
        (Kind::ExternalQueryTokens, 4096.0),
        (Kind::HostHitTokens, 1024.0),
        (Kind::RemoteHitTokens, 512.0),
        // Two ranks loaded half of each of 6 chunks.
        (Kind::ExternalHitTokens, 6.0 * 256.0),
        (Kind::LoadedBytes, 6.0 * 256_000.0),
        // 20 written, of which 4 came from the second level; each is half a chunk.
        (Kind::StoredBytes, 16.0 * 128_000.0),
    ] {
        assert_eq!(signals.get(kind), Some(value), "{kind:?}");
    }
    // Each level has its own counters.
    for (tier, kind, value) in [
        // Of 7 that left, 4 were promotions.
        (TierKind::Host, Kind::EvictedBytes, 3.0 * 128_000.0),
        (TierKind::Host, Kind::StoreFailures, 2.0),
        (TierKind::Host, Kind::TierUsedBytes, 1000.0),
        (TierKind::Remote, Kind::EvictedBytes, 128_000.0),
        (TierKind::Remote, Kind::StoredBytes, 12.0 * 128_000.0),
        (TierKind::Remote, Kind::TierUsedBytes, 500.0),
    ] {
        assert_eq!(signals.get_of(tier, kind), Some(value), "{tier} {kind:?}");
    }
    assert_eq!(signals.get(Kind::DiskHitTokens), None);
    assert_eq!(
        sources(&signals, Kind::StoredBytes)[0].1.metric.as_deref(),
        Some(
            "lmcache_mp_l1_write_chunks_total - lmcache_mp_l2_prefetch_load_completed_chunks_total"
        )
    );
    // Lookups include the GPU's hits; loaded tokens were served.
    for (kind, at_lookup) in [
        (Kind::ExternalQueryTokens, true),
        (Kind::HostHitTokens, true),
        (Kind::RemoteHitTokens, true),
        (Kind::ExternalHitTokens, false),
        (Kind::LoadedBytes, false),
    ] {
        assert_eq!(sources(&signals, kind)[0].1.at_lookup, at_lookup, "{kind:?}");
    }
    // An idle server exports nothing: no signal, not zero.
    let (signals, _) = of_texts("", "", add);
    assert!(signals.0.is_empty(), "{signals:?}");
    // Lookups and no writes: nothing was stored.
    let asked = "lmcache_mp_lookup_requested_tokens_total 4096\n";
    let (signals, _) = of_texts("", asked, add);
    assert_eq!(signals.get(Kind::StoredBytes), Some(0.0));
}

#[test]
fn lmcache_in_process_counts_tokens_and_bytes() {
    let text = "lmcache:num_lookup_tokens_total 900\nlmcache:num_hit_tokens_total 300\n\
                lmcache:num_stored_tokens_total 600\nlmcache:num_remote_read_bytes_total 256000\n\
                lmcache:local_cache_usage 5\nlmcache:local_cpu_evict_keys_count_total 2\n";
    let add = |windows: &[SnapshotDifference<'_>], signals: &mut Signals| {
        add_lmcache_in_process(windows, &OBJECTS, signals)
    };
    let (signals, gaps) = of_texts("", text, add);
    assert_eq!(gaps, [""; 0]);
    for (kind, value) in [
        (Kind::ExternalQueryTokens, 900.0),
        (Kind::ExternalHitTokens, 300.0),
        (Kind::StoredBytes, 600_000.0),
        (Kind::LoadedBytes, 300_000.0),
        (Kind::RemoteHitTokens, 256.0),
    ] {
        assert_eq!(signals.get(kind), Some(value), "{kind:?}");
    }
    for (kind, value) in [(Kind::EvictedBytes, 256_000.0), (Kind::TierUsedBytes, 5.0)] {
        assert_eq!(signals.get_of(TierKind::Host, kind), Some(value), "{kind:?}");
    }
}

#[test]
fn the_routers_index_is_read_under_both_of_its_names() {
    let new = "llm_d_router_epp_kv_cache_events_messages_received_total 40\n\
               llm_d_router_epp_kv_cache_index_lookup_requests_total 10\n\
               llm_d_router_epp_kv_cache_index_lookup_hits_total 4\n\
               kvcache_index_lookup_requests_total 10\nllm_d_epp_ready_endpoints 2\n";
    let (signals, _) = of_texts("", new, add_router);
    assert_eq!(signals.get(Kind::IndexEvents), Some(40.0));
    assert_eq!(sources(&signals, Kind::IndexLookups).len(), 2, "one figure, two names");
    // It counts all lookups, without the GPU's hits.
    assert!(!sources(&signals, Kind::IndexLookups)[0].1.at_lookup);
    assert_eq!(signals.get(Kind::IndexHits), Some(4.0));
    assert_eq!(signals.get(Kind::Replicas), Some(2.0));
    assert_eq!(signals.get(Kind::ApproximateKeys), None);
    // A scorer of the router's own choices has its index.
    let approximate = format!("{new}llm_d_epp_prefix_indexer_size 12\n");
    let (signals, _) = of_texts("", &approximate, add_router);
    assert_eq!(signals.get(Kind::ApproximateKeys), Some(12.0));
    let old = "kvcache_index_admissions_total 7\nkvcache_index_lookup_hits_total 3\n";
    let (signals, _) = of_texts("", old, add_router);
    assert_eq!(signals.get(Kind::IndexEvents), Some(7.0));
    assert_eq!(signals.get(Kind::IndexHits), Some(3.0));
}

fn row(first_token: Option<u64>, prompt: u32, seen: u32, cached: u32) -> RequestRow {
    RequestRow {
        request: 0,
        session: 0,
        turn: 0,
        prompt_id: 0,
        replica: Some(0),
        due: Nanos::ZERO,
        start: Nanos::ZERO,
        connected: None,
        first_byte: None,
        first_token: first_token.map(Nanos),
        end: Nanos(100),
        prompt_tokens: Tokens(prompt),
        output_tokens: Tokens(1),
        seen_tokens: Tokens(seen),
        cached_tokens: [Tokens(cached), Tokens(0), Tokens(0), Tokens(0)],
        preemptions: 0,
        first_step: 0,
        chunk_gaps: Vec::new(),
        events_per_read: None,
        outcome: Outcome::Done,
        error: None,
        output_digest: None,
        error_bound: Nanos::ZERO,
        hits: None,
        shard: None,
    }
}

#[test]
fn what_was_cached_and_never_asked_is_not_made_up_for_by_misses() {
    let window = Window { start: Nanos(10), end: Nanos(20) };
    let mut asked = AskedLoad::default();
    asked.add(&row(Some(12), 64, 16, 48), window, 16);
    asked.add(&row(Some(13), 64, 64, 0), window, 16);
    assert_eq!((asked.looked_up.cached_tokens, asked.looked_up.unseen_tokens), (48, 32));
}

#[test]
fn eligible_is_what_was_seen_in_whole_blocks_and_not_on_the_gpu() {
    let window = Window { start: Nanos(10), end: Nanos(20) };
    let mut asked = AskedLoad::default();
    // All were due before the window. 40 seen of 100: two blocks of 16. All of 32 seen: the last
    // token is computed, one block.
    asked.add(&row(Some(10), 100, 40, 16), window, 16);
    asked.add(&row(Some(19), 32, 32, 0), window, 16);
    for first_token in [Some(9), Some(20), None] {
        asked.add(&row(first_token, 1000, 1000, 0), window, 16);
    }
    let looked_up = PromptTotals {
        requests: 2,
        prompt_tokens: 132,
        seen_tokens: 72,
        servable_tokens: 48,
        cached_tokens: 16,
        unseen_tokens: 0,
    };
    assert_eq!(asked, AskedLoad { measured: PromptTotals::default(), looked_up });
    // Due in it, whatever the time of its token.
    let due_inside = RequestRow { due: Nanos(19), ..row(Some(25), 64, 48, 32) };
    asked.add(&due_inside, window, 16);
    let measured = PromptTotals {
        requests: 1,
        prompt_tokens: 64,
        seen_tokens: 48,
        servable_tokens: 48,
        cached_tokens: 32,
        unseen_tokens: 0,
    };
    assert_eq!(asked, AskedLoad { measured, looked_up });
    let mut signals = Signals::default();
    signals.add(Kind::PromptTokens, 131.0, "vLLM's /metrics");
    signals.add(Kind::GpuHitTokens, 20.0, "vLLM's /metrics");
    add_client(&asked, true, &mut signals);
    assert_eq!(signals.get(Kind::PromptTokens), Some(131.0), "the engine's figure stays first");
    assert_eq!(sources(&signals, Kind::PromptTokens)[1], (132.0, "load generator".into()));
    assert_eq!(signals.get(Kind::SeenTokens), Some(72.0));
    assert_eq!(signals.get(Kind::EligibleTokens), Some(28.0));
    assert_eq!(sources(&signals, Kind::GpuHitTokens).len(), 1);

    // Without the engine's hits: the answers' count of the measured set, for a stack with the GPU
    // alone.
    let mut signals = Signals::default();
    add_client(&asked, true, &mut signals);
    assert_eq!(signals.get(Kind::PromptTokens), Some(64.0));
    assert_eq!(signals.get(Kind::EligibleTokens), Some(16.0));
    let mut signals = Signals::default();
    add_client(&asked, false, &mut signals);
    assert_eq!((signals.get(Kind::EligibleTokens), signals.get(Kind::GpuHitTokens)), (None, None));

    // More GPU hits than seen tokens: zero, not negative.
    let mut signals = Signals::default();
    signals.add(Kind::GpuHitTokens, 1e6, "vLLM's /metrics");
    add_client(&asked, true, &mut signals);
    assert_eq!(signals.get(Kind::EligibleTokens), Some(0.0));
}

/// Answered by a replica at a due time.
fn answered(replica: Option<u16>, due: u64, hits: Option<u32>) -> RequestRow {
    let hits = hits.map(|routed| ChoiceHits {
        routed: Tokens(routed),
        uniform: routed as f32 / 2.0,
        best: Tokens(64),
    });
    RequestRow { replica, due: Nanos(due), hits, ..row(Some(due + 1), 100, 0, 32) }
}

const WINDOW: Window = Window { start: Nanos(10), end: Nanos(20) };

fn choices(rows: &[RequestRow], replicas: usize) -> (AnsweredBy, Signals) {
    let mut load = AnsweredBy::default();
    for row in rows {
        load.add(row, WINDOW);
    }
    let mut signals = Signals::default();
    add_choices(&load, replicas, &"test".into(), &mut signals);
    (load, signals)
}

#[test]
fn choices_are_counted_by_the_replica_that_answered() {
    let mut rows: Vec<RequestRow> = (0..4).map(|_| answered(Some(0), 10, Some(16))).collect();
    rows.push(answered(Some(1), 19, Some(64)));
    // Outside of the window, and without an answer.
    rows.push(answered(Some(1), 20, Some(64)));
    rows.push(RequestRow { outcome: Outcome::Failed, ..answered(Some(1), 15, None) });
    let (load, signals) = choices(&rows, 2);
    let first =
        ReplicaTotals { requests: 4, prompt_tokens: 400, cached_tokens: 128, time: Nanos(400) };
    assert_eq!(load.replicas[&0], first);
    assert_eq!(signals.get(Kind::RoutingChoices), Some(5.0));
    assert_eq!(signals.get(Kind::RoutingMaxSharePercent), Some(80.0));
    assert_eq!(signals.get(Kind::RoutedHitTokens), Some(128.0));
    assert_eq!(signals.get(Kind::UniformHitTokens), Some(64.0));
    assert_eq!(signals.get(Kind::BestHitTokens), Some(320.0));
    // One replica has no choice, and one that is known to be among others has.
    assert_eq!(choices(&rows[..4], 1).1, Signals::default());
    assert_eq!(choices(&rows[..4], 2).1.get(Kind::RoutingMaxSharePercent), Some(100.0));
}

#[test]
fn too_many_unknown_replicas_or_hits_are_no_signal() {
    let many = |unknown: usize, of: &dyn Fn() -> RequestRow| {
        let known = (0..38).map(|at| answered(Some(at % 2), 10, Some(16)));
        let mut rows: Vec<RequestRow> = known.collect();
        rows.extend((0..unknown).map(|_| of()));
        choices(&rows, 2).1
    };
    let nameless = || answered(None, 10, None);
    assert_eq!(many(2, &nameless).get(Kind::RoutingChoices), Some(38.0));
    assert_eq!(many(3, &nameless), Signals::default());
    let unheld = || answered(Some(0), 10, None);
    assert_eq!(many(2, &unheld).get(Kind::RoutedHitTokens), Some(608.0));
    let signals = many(3, &unheld);
    assert_eq!(signals.get(Kind::RoutingChoices), Some(41.0));
    assert_eq!(signals.get(Kind::RoutedHitTokens), None);
}
