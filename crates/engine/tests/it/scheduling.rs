//! The scheduler's rules, one by one, on small engines.

use std::ops::Range;

use weir_engine::{
    ChunkBytes, Engine, LoadMode, OffloadConfig, SubmitError, TransferKind, TransferOutcome,
};
use weir_model::{Bytes, KvChange, KvEvent, Mechanism, Nanos, Product, Request, TierKind, Tokens};
use weir_tier::{EvictionPolicy, StoreConfig};

use crate::fixture::{Bench, config, evicted, link, native, request};

#[test]
fn a_long_prompt_is_computed_in_chunks_of_the_budget() {
    let mut bench = Bench::new(config(100), None);
    bench.submit(&request(0, &[(1, 150)], 2));
    assert_eq!(bench.pass(), Some((vec![(64, 0)], 0)));
    assert_eq!(bench.pass(), Some((vec![(64, 64)], 0)));
    assert!(bench.effects.first_tokens.is_empty());
    assert_eq!(bench.pass(), Some((vec![(22, 128)], 0)));
    assert_eq!(bench.effects.first_tokens.len(), 1);
    assert_eq!(bench.pass(), Some((vec![], 1)));
    assert_eq!(bench.effects.finished.len(), 1);
    assert_eq!(bench.effects.finished[0].first_step, 3);
    assert_eq!(bench.pass(), None);
    assert!(bench.engine.is_quiescent());
}

#[test]
fn decodes_take_their_share_of_the_budget_first() {
    let mut bench = Bench::new(config(100), None);
    bench.submit(&request(0, &[(1, 20)], 50));
    bench.submit(&request(1, &[(2, 20)], 50));
    bench.pass();
    bench.submit(&request(2, &[(3, 100)], 5));
    // Decoding sequences take two of the 64 tokens.
    assert_eq!(bench.pass(), Some((vec![(62, 0)], 2)));
    assert_eq!(bench.pass(), Some((vec![(38, 62)], 2)));
    assert_eq!(bench.pass(), Some((vec![], 3)));
}

#[test]
fn a_sequence_that_does_not_fit_whole_is_not_overtaken() {
    let mut bench = Bench::new(config(10), None);
    bench.submit(&request(0, &[(1, 60)], 40));
    bench.pass();
    // 7 blocks of 16 tokens do not fit beside the first 4; the small sequence after it would.
    bench.submit(&request(1, &[(2, 110)], 1));
    bench.submit(&request(2, &[(3, 10)], 1));
    bench.pass();
    assert_eq!((bench.engine.running(), bench.engine.waiting()), (1, 2));
    assert_eq!(bench.drain(), [0, 1, 2]);
}

#[test]
fn the_sequence_that_started_last_is_preempted_and_recomputed() {
    let mut bench = Bench::new(config(8), None);
    bench.submit(&request(0, &[(1, 40)], 60));
    bench.submit(&request(1, &[(2, 20)], 60));
    let finished = bench.drain();
    assert_eq!(finished, [0, 1]);
    assert!(bench.engine.counters().preemptions > 0);
    assert_eq!(bench.effects.finished[0].preemptions as u64, bench.engine.counters().preemptions);
    assert_eq!(bench.engine.pool().used_blocks(), 0);
}

#[test]
fn a_prompt_that_is_cached_whole_computes_its_last_block_again() {
    let mut bench = Bench::new(config(100), None);
    bench.submit(&request(0, &[(1, 64)], 1));
    bench.drain();
    bench.submit(&request(1, &[(1, 64)], 1));
    assert_eq!(bench.pass(), Some((vec![(16, 48)], 0)));
    assert_eq!(bench.effects.finished[0].cached[TierKind::Gpu.index()], Tokens(48));
}

#[test]
fn a_load_defers_only_its_own_request() {
    let mut bench = evicted();
    bench.submit(&request(2, &[(1, 97)], 1));
    bench.submit(&request(3, &[(4, 10)], 3));
    // The first waits for six chunks; the second runs at once.
    assert_eq!(bench.pass(), Some((vec![(10, 0)], 0)));
    assert_eq!(bench.pass(), Some((vec![], 1)));
    assert_eq!(bench.end(TransferKind::Load, TransferOutcome::Ok), 1);
    assert_eq!(bench.pass(), Some((vec![(1, 96)], 1)));
    let done = bench.effects.finished.iter().find(|done| done.request == 2);
    let done = done.expect("one output token came with the last prompt token");
    assert_eq!(done.cached[TierKind::Host.index()], Tokens(96));
}

#[test]
fn what_a_failed_load_did_not_bring_is_computed() {
    let mut bench = evicted();
    bench.submit(&request(2, &[(1, 97)], 1));
    assert_eq!(bench.pass(), None);
    bench.end(TransferKind::Load, TransferOutcome::Failed);
    assert_eq!(bench.pass(), Some((vec![(64, 0)], 0)));
    assert_eq!(bench.pass(), Some((vec![(33, 64)], 0)));
    assert_eq!(bench.effects.finished.len(), 1);
}

#[test]
fn a_chunk_that_is_being_stored_defers_who_wants_it_and_nobody_else() {
    let mut bench = Bench::new(config(8), Some(native(1000)));
    bench.submit(&request(0, &[(1, 97)], 1));
    while bench.engine.unfinished() > 0 {
        bench.pass();
    }
    bench.submit(&request(1, &[(2, 127)], 1));
    while bench.engine.unfinished() > 0 {
        bench.pass();
    }
    bench.submit(&request(2, &[(1, 97)], 1));
    bench.submit(&request(3, &[(4, 10)], 1));
    assert_eq!(bench.pass(), Some((vec![(10, 0)], 0)));
    assert_eq!(bench.effects.finished[0].request, 3);
    assert!(bench.end(TransferKind::Store, TransferOutcome::Ok) > 0);
    assert_eq!(bench.drain(), [2]);
    assert_eq!(bench.engine.counters().tier_hit_tokens[TierKind::Host.index()], 96);
}

#[test]
fn an_in_pass_load_holds_its_pass_and_a_failed_one_is_recomputed() {
    let offload = OffloadConfig {
        mechanism: Mechanism::Lmcache,
        load: LoadMode::InPass,
        chunk_tokens: 32,
        chunk_bytes: ChunkBytes::whole(320),
        ..native(1000)
    };
    let mut bench = Bench::new(config(8), Some(offload));
    for (id, pieces) in [(0, [(1, 97)]), (1, [(2, 127)])] {
        bench.submit(&request(id, &pieces, 1));
        bench.drain();
        bench.end(TransferKind::Store, TransferOutcome::Ok);
    }
    bench.submit(&request(2, &[(1, 97)], 1));
    assert_eq!(bench.begin(), Some((vec![(1, 96)], 0)));
    let load = bench.transfers.iter().find(|transfer| transfer.kind == TransferKind::Load);
    assert!(load.expect("three chunks are loaded").holds_pass);
    bench.end(TransferKind::Load, TransferOutcome::Failed);
    bench.complete();
    assert!(bench.effects.finished.is_empty());
    // The tier lost them, so the next attempt computes all.
    assert_eq!(bench.begin(), Some((vec![(64, 0)], 0)));
    assert!(bench.transfers.iter().all(|transfer| transfer.kind == TransferKind::Store));
    bench.complete();
    assert_eq!(bench.begin(), Some((vec![(33, 64)], 0)));
    bench.complete();
    assert_eq!(bench.effects.finished.len(), 1);
}

type Told = (KvChange, u64, Range<u32>);

/// Of the pass that begins with `prompts`, which find a pool with 48 tokens of prompt 1 in three of
/// four blocks: change, first content and span.
fn told_under_pressure(prompts: &[&[(u64, u32)]], pass: &[(u32, u32)]) -> Vec<Told> {
    let offload =
        OffloadConfig { mechanism: Mechanism::Lmcache, load: LoadMode::InPass, ..native(1000) };
    let mut bench = Bench::new(config(4), None);
    bench.engine = Engine::new(config(4), Some(offload), true);
    bench.submit(&request(0, &[(1, 48)], 1));
    bench.drain();
    bench.end(TransferKind::Store, TransferOutcome::Ok);
    bench.engine.reset().expect("nothing runs");
    // Loaded blocks are cached at the end of their pass, which also ends this request. The next
    // pass evicts them before any call takes the events.
    bench.submit(&request(1, &[(1, 48), (2, 8)], 1));
    assert_eq!(bench.begin(), Some((vec![(8, 48)], 0)));
    bench.engine.take_events(&mut Vec::new());
    for (id, prompt) in (2..).zip(prompts) {
        bench.submit(&request(id, prompt, 1));
    }
    assert_eq!(bench.end(TransferKind::Load, TransferOutcome::Ok), 1);
    bench.complete();
    assert_eq!(bench.begin(), Some((pass.to_vec(), 0)));
    let mut events = Vec::new();
    bench.engine.take_events(&mut events);
    let told =
        |it: &KvEvent| (it.change, it.path.pieces()[0].content.0, it.from_token..it.to_token);
    events.iter().map(told).collect()
}

#[test]
fn kv_events_are_told_in_the_order_in_which_they_happened() {
    let told = told_under_pressure(&[&[(1, 16), (3, 47)]], &[(47, 16)]);
    let expected = [
        (KvChange::Stored, 1, 0..48),
        (KvChange::Removed, 1, 16..48),
        (KvChange::Stored, 1, 16..48),
    ];
    assert_eq!(told, expected);
}

#[test]
fn evictions_between_stores_of_other_sequences_are_one_event() {
    let prompts: [&[(u64, u32)]; 3] = [&[(3, 16)], &[(4, 16)], &[(5, 16)]];
    let told = told_under_pressure(&prompts, &[(16, 0), (16, 0), (16, 0)]);
    let expected = [
        (KvChange::Stored, 1, 0..48),
        (KvChange::Stored, 3, 0..16),
        (KvChange::Removed, 1, 16..48),
        (KvChange::Stored, 4, 0..16),
        (KvChange::Stored, 5, 0..16),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_remote_store_is_asked_once_and_its_answer_is_loaded() {
    let offload = OffloadConfig {
        mechanism: Mechanism::Lmcache,
        load: LoadMode::InPass,
        store: Some(StoreConfig {
            product: Product::Redis,
            capacity: Bytes(100_000),
            policy: EvictionPolicy::Lru,
            link: link(),
            client_bytes_per_s: 1e9,
            lookup_latency: Nanos::ZERO,
            lookup_per_key: Nanos::ZERO,
        }),
        ..native(1000)
    };
    let mut bench = Bench::new(config(8), Some(offload));
    let slot = bench.submit(&request(0, &[(1, 97)], 1));
    bench.submit(&request(1, &[(2, 10)], 1));
    // Prompt 0 looks up six chunks; prompt 1 has none and does not overtake.
    assert_eq!(bench.begin(), None);
    assert_eq!(bench.lookups.len(), 1);
    assert_eq!((bench.lookups[0].from_chunk, bench.lookups[0].to_chunk), (0, 6));
    bench.engine.lookup_done(slot, 0, 4);
    assert_eq!(bench.begin(), Some((vec![(33, 64), (10, 0)], 0)));
    assert_eq!(bench.end(TransferKind::Load, TransferOutcome::Ok), 1);
    bench.complete();
    let done = bench.effects.finished[0];
    assert_eq!(done.cached[TierKind::Remote.index()], Tokens(64));
    assert_eq!(bench.lookups.len(), 1);
}

#[test]
fn who_was_loaded_goes_before_who_was_answered_and_needs_its_blocks() {
    let store = StoreConfig {
        product: Product::Redis,
        capacity: Bytes(100_000),
        policy: EvictionPolicy::Lru,
        link: link(),
        client_bytes_per_s: 1e9,
        lookup_latency: Nanos::ZERO,
        lookup_per_key: Nanos::ZERO,
    };
    let offload =
        OffloadConfig { mechanism: Mechanism::Lmcache, store: Some(store), ..native(1000) };
    let mut bench = Bench::new(config(8), Some(offload));
    let first = bench.submit(&request(0, &[(1, 97)], 1));
    let second = bench.submit(&request(1, &[(2, 97)], 1));
    assert_eq!(bench.begin(), None);
    bench.engine.lookup_done(first, 0, 4);
    assert_eq!(bench.begin(), None);
    // The first holds four blocks and needs seven of eight, so the second does not fit.
    bench.engine.lookup_done(second, 0, 4);
    assert_eq!(bench.begin(), None);
    assert_eq!(bench.end(TransferKind::Load, TransferOutcome::Ok), 1);
    assert_eq!(bench.begin(), Some((vec![(33, 64)], 0)));
    bench.complete();
    assert_eq!(bench.drain(), [1]);
}

#[test]
fn what_can_never_run_is_refused_with_the_limit() {
    let mut engine = Engine::new(config(4), None, false);
    let refuse = |engine: &mut Engine, request: &Request| engine.submit(request).unwrap_err();
    assert_eq!(
        refuse(&mut engine, &request(0, &[(1, 60)], 10)),
        SubmitError::PoolTooSmall { blocks: 5, limit: 4 }
    );
    assert_eq!(
        refuse(&mut engine, &request(0, &[(1, 5000)], 1)),
        SubmitError::TooLong { tokens: 5001, limit: 4096 }
    );
    assert_eq!(refuse(&mut engine, &request(0, &[], 1)), SubmitError::Empty);
    assert_eq!(engine.unfinished(), 0);
}
