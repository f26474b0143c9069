//! Aborts in each phase, and resets of the cache.

use weir_engine::{
    ChunkBytes, Engine, LoadMode, OffloadConfig, Slot, TransferKind, TransferOutcome,
};
use weir_model::{Bytes, KvChange, Mechanism, Nanos, Product, TierKind, Tokens};
use weir_tier::StoreConfig;

use crate::fixture::{Bench, config, evicted, link, native, request};

/// Slots with a token from the last pass, in order.
fn tokens(engine: &Engine) -> Vec<u32> {
    let mut slots: Vec<u32> = engine.token_slots().map(|slot| slot.0).collect();
    slots.sort_unstable();
    slots
}

/// The engine is empty and quiescent.
fn assert_empty(bench: &mut Bench) {
    assert_eq!(bench.pass(), None);
    let engine = &bench.engine;
    assert_eq!((engine.unfinished(), engine.running(), engine.waiting()), (0, 0, 0));
    assert_eq!(engine.pool().used_blocks(), 0);
    assert!(engine.is_quiescent());
}

#[test]
fn who_waits_leaves_the_queue_and_lets_the_next_one_in() {
    let mut bench = Bench::new(config(10), None);
    bench.submit(&request(0, &[(1, 60)], 40));
    bench.pass();
    let large = bench.submit(&request(1, &[(2, 110)], 1));
    bench.submit(&request(2, &[(3, 10)], 1));
    bench.pass();
    assert_eq!((bench.engine.running(), bench.engine.waiting()), (1, 2));
    bench.engine.abort(large);
    assert_eq!((bench.engine.running(), bench.engine.waiting()), (1, 1));
    assert_eq!(bench.drain(), [2, 0]);
    assert_empty(&mut bench);
}

#[test]
fn a_prompt_in_the_pass_under_way_gets_nothing_and_its_blocks_are_free_at_once() {
    let mut bench = Bench::new(config(100), None);
    let first = bench.submit(&request(0, &[(1, 40)], 2));
    bench.submit(&request(1, &[(2, 20)], 2));
    bench.begin();
    bench.engine.abort(first);
    assert_eq!(bench.engine.pool().used_blocks(), 2);
    bench.complete();
    assert_eq!(bench.effects.first_tokens, [Slot(1)]);
    assert_eq!(bench.effects.tokens, 60);
    assert_eq!(bench.drain(), [1]);
    // The pass's two filled blocks can be hit.
    bench.submit(&request(2, &[(1, 40)], 1));
    assert_eq!(bench.pass(), Some((vec![(8, 32)], 0)));
    assert_empty(&mut bench);
}

#[test]
fn a_decoding_sequence_is_not_counted_from_its_abort_on() {
    for in_pass in [false, true] {
        let mut bench = Bench::new(config(100), None);
        let first = bench.submit(&request(0, &[(1, 20)], 50));
        bench.submit(&request(1, &[(2, 20)], 3));
        bench.pass();
        assert_eq!(tokens(&bench.engine), [0, 1]);
        if in_pass {
            assert_eq!(bench.begin(), Some((vec![], 2)));
            bench.engine.abort(first);
            bench.complete();
        } else {
            bench.engine.abort(first);
            assert_eq!(bench.pass(), Some((vec![], 1)));
        }
        assert_eq!(bench.effects.decoding, 1);
        assert_eq!(tokens(&bench.engine), [1]);
        // One sequence of 20 + 2 tokens remains, the next pass's context.
        let shape = bench.engine.begin().expect("it has a token to come");
        assert_eq!((shape.decoding, shape.context_tokens), (1, 22));
        bench.complete();
        assert_eq!(bench.effects.finished.len(), 1);
        assert_eq!(tokens(&bench.engine), [1]);
        assert_empty(&mut bench);
    }
}

#[test]
fn a_slot_given_up_is_used_again_without_a_trace() {
    let mut bench = Bench::new(config(100), None);
    let first = bench.submit(&request(0, &[(1, 20)], 50));
    bench.pass();
    bench.pass();
    bench.engine.abort(first);
    // Old wake-ups of the slot are void: the new sequence decodes at its own pace.
    assert_eq!(bench.submit(&request(1, &[(2, 31)], 40)), first);
    assert_eq!(bench.drain(), [1]);
    assert_eq!(bench.effects.finished[0].output_tokens, Tokens(40));
    // Repeated aborts are ignored.
    bench.engine.abort(first);
    bench.engine.abort(Slot(17));
    assert_empty(&mut bench);
}

#[test]
fn blocks_that_are_loaded_are_freed_when_the_load_has_ended() {
    for outcome in [TransferOutcome::Ok, TransferOutcome::Failed] {
        let mut bench = evicted();
        let slot = bench.submit(&request(2, &[(1, 97)], 1));
        assert_eq!(bench.pass(), None);
        assert_eq!(bench.engine.pool().used_blocks(), 6);
        bench.engine.abort(slot);
        assert_eq!((bench.engine.unfinished(), bench.engine.pool().used_blocks()), (0, 6));
        // The load still names the slot.
        let other = bench.submit(&request(3, &[(4, 10)], 1));
        assert_ne!(other, slot);
        assert_eq!(bench.engine.reset().unwrap_err().used_blocks, 6);
        assert_eq!(bench.end(TransferKind::Load, outcome), 1);
        assert_eq!(bench.engine.pool().used_blocks(), 0);
        assert_eq!(bench.drain(), [3]);
        assert_empty(&mut bench);
        // The tier still has the chunks, unpinned, unless they turned out to be missing.
        bench.submit(&request(4, &[(1, 97)], 1));
        let loads = bench.pass().is_none();
        assert_eq!(loads, outcome == TransferOutcome::Ok);
        if loads {
            assert_eq!(bench.drain(), [4]);
        }
    }
}

#[test]
fn who_was_loaded_and_waits_for_its_pass_gives_its_blocks_back() {
    let mut bench = evicted();
    let slot = bench.submit(&request(2, &[(1, 97)], 1));
    bench.pass();
    bench.end(TransferKind::Load, TransferOutcome::Ok);
    bench.engine.abort(slot);
    assert_eq!(bench.engine.pool().used_blocks(), 0);
    assert_empty(&mut bench);
    // The loaded chunks are cached.
    bench.submit(&request(3, &[(1, 97)], 1));
    assert_eq!(bench.pass(), Some((vec![(1, 96)], 0)));
}

#[test]
fn a_load_inside_a_pass_settles_before_its_blocks_are_free() {
    let in_pass = OffloadConfig {
        mechanism: Mechanism::Lmcache,
        load: LoadMode::InPass,
        chunk_tokens: 32,
        chunk_bytes: ChunkBytes::whole(320),
        ..native(1000)
    };
    let mut bench = Bench::new(config(8), Some(in_pass));
    for (id, pieces) in [(0, [(1, 97)]), (1, [(2, 127)])] {
        bench.submit(&request(id, &pieces, 1));
        bench.drain();
        bench.end(TransferKind::Store, TransferOutcome::Ok);
    }
    let slot = bench.submit(&request(2, &[(1, 97)], 1));
    assert_eq!(bench.begin(), Some((vec![(1, 96)], 0)));
    bench.engine.abort(slot);
    assert_eq!(bench.engine.pool().used_blocks(), 7);
    bench.end(TransferKind::Load, TransferOutcome::Ok);
    assert_eq!(bench.engine.pool().used_blocks(), 0);
    bench.complete();
    assert!(bench.effects.first_tokens.is_empty() && bench.effects.finished.is_empty());
    assert_empty(&mut bench);
}

#[test]
fn an_answer_to_who_is_gone_frees_the_slot_and_nothing_else() {
    let store = OffloadConfig {
        mechanism: Mechanism::Lmcache,
        load: LoadMode::InPass,
        store: Some(StoreConfig {
            product: Product::Redis,
            capacity: Bytes(100_000),
            policy: weir_tier::EvictionPolicy::Lru,
            link: link(),
            client_bytes_per_s: 1e9,
            lookup_latency: Nanos::ZERO,
            lookup_per_key: Nanos::ZERO,
        }),
        ..native(1000)
    };
    let mut bench = Bench::new(config(8), Some(store));
    let slot = bench.submit(&request(0, &[(1, 97)], 1));
    assert_eq!(bench.begin(), None);
    assert_eq!(bench.lookups.len(), 1);
    bench.engine.abort(slot);
    let other = bench.submit(&request(1, &[(2, 10)], 1));
    assert_ne!(other, slot);
    bench.engine.lookup_done(slot, 0, 4);
    assert_eq!(bench.submit(&request(2, &[(3, 10)], 1)), slot);
    assert_eq!(bench.drain(), [1, 2]);
    assert_empty(&mut bench);
}

#[test]
fn a_preempted_sequence_can_be_given_up_while_it_waits() {
    let mut bench = Bench::new(config(8), None);
    bench.submit(&request(0, &[(1, 40)], 60));
    let second = bench.submit(&request(1, &[(2, 20)], 60));
    while bench.engine.counters().preemptions == 0 {
        bench.pass();
    }
    assert_eq!((bench.engine.running(), bench.engine.waiting()), (1, 1));
    bench.engine.abort(second);
    assert_eq!(bench.drain(), [0]);
    assert_empty(&mut bench);
}

#[test]
fn a_reset_empties_the_cache_once_nobody_holds_blocks_and_says_so() {
    let mut bench = Bench::new(config(100), None);
    bench.engine = Engine::new(config(100), None, true);
    bench.submit(&request(0, &[(1, 64)], 2));
    bench.pass();
    let busy = bench.engine.reset().unwrap_err();
    assert_eq!(
        busy.to_string(),
        "requests hold 4 blocks; the cache can be emptied once they have ended"
    );
    bench.drain();
    bench.engine.reset().expect("nobody holds blocks");
    let mut events = Vec::new();
    bench.engine.take_events(&mut events);
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].change, events[0].tier), (KvChange::Cleared, TierKind::Gpu));
    bench.submit(&request(1, &[(1, 64)], 1));
    assert_eq!(bench.pass(), Some((vec![(64, 0)], 0)));
}

#[test]
fn a_request_is_started_once_however_often_it_is_preempted() {
    let mut bench = Bench::new(config(8), None);
    bench.submit(&request(0, &[(1, 40)], 60));
    bench.submit(&request(1, &[(2, 20)], 60));
    let (mut started, mut counts) = (Vec::new(), [0u32; 2]);
    while bench.begin().is_some() {
        started.extend(bench.engine.started_slots());
        bench.complete();
        for slot in bench.engine.token_slots() {
            counts[slot.0 as usize] += 1;
        }
    }
    assert!(bench.engine.counters().preemptions > 0);
    assert_eq!(started, [Slot(0), Slot(1)]);
    // A preempted sequence recomputes its generated tokens and continues after them.
    assert_eq!(counts, [60, 60]);
}
