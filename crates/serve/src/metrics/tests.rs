//! The page against captured vLLM pages: every line, and every value that does not depend on time.

use weir_engine::Counters;
use weir_model::Mechanism;
use weir_model::{Nanos, TierKind, Tokens};

use super::*;

const IDLE: &str = include_str!("../../tests/fixtures/vllm-0.32.0/metrics-idle.txt");
const SERVED: &str = include_str!("../../tests/fixtures/vllm-0.32.0/metrics.txt");
const OFFLOADED: &str = include_str!("../../tests/fixtures/vllm-0.32.0/metrics-offload.txt");

fn cache(gpu_blocks: u64, max_model_tokens: u32) -> CacheConfig {
    CacheConfig {
        block_tokens: 32,
        gpu_blocks,
        gpu_blocks_override: (gpu_blocks == 9).then_some(9),
        max_model_tokens,
        prefix_caching: true,
        hash_algorithm: "sha256",
        gpu_memory_utilization: 0.92,
        kv_cache_bytes: 1 << 30,
    }
}

/// Values may differ in lines that `timed` names.
fn assert_same_page(ours: &str, captured: &str, timed: impl Fn(&str) -> bool) {
    let (mut ours, mut captured) = (ours.lines(), captured.lines());
    loop {
        let (our, their) = (ours.next(), captured.next());
        let (Some(our), Some(their)) = (our, their) else {
            assert_eq!(our, their, "one page ends before the other");
            return;
        };
        if timed(their) {
            let series = |line: &str| line.rsplit_once(' ').map(|(series, _)| series.to_owned());
            assert_eq!(series(our), series(their));
        } else {
            assert_eq!(our, their);
        }
    }
}

fn is_of_seconds(line: &str) -> bool {
    !line.starts_with('#')
        && (line.contains("_seconds_bucket")
            || line.contains("_seconds_sum")
            || line.contains("_time_total{"))
}

/// One pass per prompt, then one per token.
fn serve(engine: &mut EngineMetrics, [prompt, cached, output, limit]: [u32; 4], stop: bool) {
    let millis = |n: u64| Nanos(n * 1_000_000);
    let cached_of = [Tokens(cached), Tokens(0), Tokens(0), Tokens(0)];
    engine.first_token(millis(8), Tokens(prompt), &cached_of);
    engine.pass_ended(millis(8), 0);
    for _ in 1..output {
        engine.pass_ended(millis(5), 1);
    }
    engine.finished(&FinishedRequest {
        reason: if stop { FinishReason::Stop } else { FinishReason::Length },
        arrived: millis(100),
        queued: millis(101),
        scheduled: millis(102),
        first_token: millis(108),
        last_token: millis(108 + 5 * (u64::from(output) - 1)),
        ended: millis(109 + 5 * (u64::from(output) - 1)),
        prompt_tokens: Tokens(prompt),
        cached_tokens: Tokens(cached),
        output_tokens: Tokens(output),
        max_tokens: Some(Tokens(limit)),
        preemptions: 0,
    });
    engine.answered(1, Tokens(output));
}

#[test]
fn an_idle_page_equals_the_captured_one() {
    let metrics = Metrics::new("tiny", 1, 16_384, 1.7e9);
    let page = metrics.page(&cache(32_768, 16_384), &[EngineSnapshot::default()]);
    assert_same_page(&page, IDLE, |_| false);
}

#[test]
fn the_exchanges_of_the_fixture_give_the_captured_counts() {
    // Prompt, cached, generated and most tokens of the exchanges in `http.json` before the scrape.
    let requests = [
        [100, 0, 1, 1],
        [100, 96, 40, 40],
        [70, 0, 1, 1],
        [100, 96, 4, 4],
        [100, 96, 3, 3],
        [100, 96, 3, 3],
        [6, 0, 4, 4],
        [3, 0, 3, 3],
        [3, 0, 3, 3],
        [4, 0, 2, 2],
        [16_381, 0, 3, 3],
        [3, 0, 16, 16],
        [25, 0, 4, 4],
        [25, 0, 3, 3],
        [25, 0, 3, 3],
        [25, 0, 3, 3],
        [21, 0, 2, 2],
        [2, 0, 1, 1],
        [3, 0, 2, 8],
    ];
    let mut metrics = Metrics::new("tiny", 1, 16_384, 1.7e9);
    for (index, request) in requests.iter().enumerate() {
        serve(metrics.engine(0), *request, index == requests.len() - 1);
    }
    let total = |column: usize| requests.iter().map(|request| u64::from(request[column])).sum();
    let state = EngineSnapshot {
        counters: Counters {
            prompt_tokens: total(0),
            gpu_hit_tokens: total(1),
            ..Counters::default()
        },
        ..EngineSnapshot::default()
    };
    let page = metrics.page(&cache(32_768, 16_384), &[state]);
    assert_same_page(&page, SERVED, is_of_seconds);
}

#[test]
fn offload_families_equal_the_captured_ones() {
    let mut metrics = Metrics::new("tiny", 1, 256, 1.7e9);
    let engine = metrics.engine(0);
    let chunk = 32_768;
    for request in 0..5 {
        let host = Tokens(if request == 3 { 128 } else { 0 });
        let cached = [Tokens(0), host, Tokens(0), Tokens(0)];
        engine.first_token(Nanos(8_000_000), Tokens(130), &cached);
        engine.pass_ended(Nanos(8_000_000), 0);
        engine.finished(&FinishedRequest {
            reason: FinishReason::Length,
            arrived: Nanos(0),
            queued: Nanos(0),
            scheduled: Nanos(0),
            first_token: Nanos(0),
            last_token: Nanos(0),
            ended: Nanos(0),
            prompt_tokens: Tokens(130),
            cached_tokens: host,
            output_tokens: Tokens(1),
            max_tokens: Some(Tokens(1)),
            preemptions: 0,
        });
        engine.answered(1, Tokens(1));
        engine.offload.lookup_call.record(20_000);
        if request == 3 {
            engine.transferred(TransferWay::Load, 4 * chunk);
        } else {
            engine.store_prepared(4);
            engine.transferred(TransferWay::Store, 4 * chunk);
        }
    }
    let counters = Counters {
        prompt_tokens: 650,
        external_query_tokens: 650,
        tier_hit_tokens: [0, 128, 0, 0],
        stored_bytes: 16 * chunk,
        loaded_bytes: 4 * chunk,
        ..Counters::default()
    };
    let state = EngineSnapshot {
        counters,
        mechanism: Some(Mechanism::Native.traits()),
        store_seconds: 0.008,
        load_seconds: 0.001,
        ..EngineSnapshot::default()
    };
    let page = metrics.page(&cache(9, 256), &[state]);
    let captured: Vec<&str> = OFFLOADED
        .lines()
        .filter(|line| !line.contains("vllm:num_requests_kv_fetch_by_stage"))
        .collect();
    assert_same_page(&page, &captured.join("\n"), is_of_seconds);
}

#[test]
fn a_pass_without_tokens_is_not_counted_and_its_prompt_tokens_wait() {
    let mut metrics = Metrics::new("m", 1, 100, 0.0);
    let engine = metrics.engine(0);
    engine.pass_ended(Nanos(1), 0);
    assert_eq!(engine.pass_tokens.count(), 0);
    engine.first_token(Nanos(1), Tokens(50), &[Tokens(0); 4]);
    engine.pass_ended(Nanos(1), 3);
    assert_eq!((engine.pass_tokens.count(), engine.pass_tokens.sum()), (1, 54.0));
    assert_eq!(engine.token_gap.count(), 3);
}

#[test]
fn series_of_several_engines_are_ordered_by_label_value() {
    let metrics = Metrics::new("m", 2, 100, 0.0);
    let page =
        metrics.page(&cache(9, 100), &[EngineSnapshot::default(), EngineSnapshot::default()]);
    let of_reason: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("vllm:num_requests_waiting_by_reason{"))
        .filter_map(|line| line.split('"').nth(1).zip(line.split('"').nth(5)))
        .map(|(engine, reason)| if engine == "0" { reason } else { "again" })
        .collect();
    assert_eq!(of_reason, ["capacity", "again", "deferred", "again"]);
    assert_eq!(page.matches("vllm:cache_config_info{").count(), 2);
}

#[test]
fn lmcache_hits_have_no_named_source() {
    let counters = Counters {
        prompt_tokens: 1000,
        gpu_hit_tokens: 100,
        external_query_tokens: 900,
        tier_hit_tokens: [100, 200, 0, 300],
        ..Counters::default()
    };
    let mechanism = Some(Mechanism::Lmcache.traits());
    let state = EngineSnapshot { counters, mechanism, ..EngineSnapshot::default() };
    assert_eq!((state.named_hits(TierKind::Host), state.unnamed_hits()), (0, 500));
    let page = Metrics::new("m", 1, 100, 0.0).page(&cache(9, 100), &[state]);
    let hits = "lmcache:num_hit_tokens_total{model_name=\"m\",role=\"worker\",\
                served_model_name=\"m\",worker_id=\"0\"} 500.0";
    assert!(page.contains(hits), "{page}");
    assert!(!page.contains("vllm:kv_offload"), "{page}");
}
