//! The scheduler's rules, one by one, on engines small enough to follow by hand.

use weir_engine::timing::PrefillChunk;
use weir_engine::{
    Effects, Engine, EngineConfig, LoadMode, Lookup, Mechanism, OffloadConfig, Slot, SubmitError,
    Transfer, TransferKind, TransferOutcome,
};
use weir_model::{Bytes, ContentId, Nanos, Piece, Prompt, Request, TierKind, Tokens};
use weir_tier::{EvictionPolicy, LinkConfig, StoreConfig, TierConfig};

fn config(blocks: u32) -> EngineConfig {
    EngineConfig {
        block_size: 16,
        blocks,
        max_num_seqs: 8,
        max_num_batched_tokens: 64,
        max_model_len: 4096,
        prefix_caching: true,
        watermark: 0.0,
        kv_bytes_per_token: 10,
    }
}

fn link() -> LinkConfig {
    LinkConfig {
        base_latency: Nanos::ZERO,
        per_copy: Nanos::ZERO,
        read_bytes_per_s: 1e9,
        write_bytes_per_s: 1e9,
        lanes: 1,
    }
}

fn native(tokens: u64) -> OffloadConfig {
    OffloadConfig {
        mechanism: Mechanism::Native,
        chunk_tokens: 16,
        prompt_only: true,
        load: LoadMode::Async,
        store_cost_per_chunk: Nanos::ZERO,
        copies_per_chunk: 1,
        tiers: vec![TierConfig {
            kind: TierKind::Host,
            capacity: Bytes(tokens * 10),
            policy: EvictionPolicy::Lru,
            link: link(),
        }],
        store: None,
    }
}

/// A request for these (content, tokens) pieces.
fn request(id: u64, pieces: &[(u64, u32)], output_tokens: u32) -> Request {
    let pieces = pieces.iter().map(|(content, len)| Piece::new(ContentId(*content), *len));
    Request {
        id,
        session: id,
        turn: 0,
        prompt: Prompt::new(pieces),
        output_tokens: Tokens(output_tokens),
        output: ContentId(1_000_000 + id),
        seen_tokens: Tokens::ZERO,
    }
}

/// An engine with the transfers and lookups that it handed out and that are still under way.
struct Bench {
    engine: Engine,
    effects: Effects,
    transfers: Vec<Transfer>,
    lookups: Vec<Lookup>,
}

/// What a pass computed: (new, context) of its prompt chunks, and its decoding sequences.
type Shape = (Vec<(u32, u32)>, u32);

impl Bench {
    fn new(config: EngineConfig, offload: Option<OffloadConfig>) -> Self {
        let engine = Engine::new(config, offload, false);
        let (transfers, lookups) = (Vec::new(), Vec::new());
        Self { engine, effects: Effects::default(), transfers, lookups }
    }

    fn submit(&mut self, request: &Request) -> Slot {
        self.engine.submit(request).expect("the request fits")
    }

    fn begin(&mut self) -> Option<Shape> {
        let shape = self.engine.begin().map(|shape| {
            let chunk = |chunk: &PrefillChunk| (chunk.new_tokens, chunk.context_tokens);
            (shape.prefill.iter().map(chunk).collect(), shape.decoding)
        });
        self.collect();
        shape
    }

    fn complete(&mut self) {
        self.engine.complete(&mut self.effects);
        self.collect();
    }

    fn pass(&mut self) -> Option<Shape> {
        let shape = self.begin()?;
        self.complete();
        Some(shape)
    }

    fn collect(&mut self) {
        self.engine.take_transfers(&mut self.transfers);
        self.engine.take_lookups(&mut self.lookups);
    }

    /// All transfers of a kind arrive (or fail).
    fn end(&mut self, kind: TransferKind, outcome: TransferOutcome) -> usize {
        let (ended, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.transfers).into_iter().partition(|t| t.kind == kind);
        self.transfers = rest;
        for transfer in &ended {
            self.engine.transfer_done(transfer.id, outcome);
        }
        ended.len()
    }

    /// Runs to the end of everything; returns what finished, in order.
    fn drain(&mut self) -> Vec<u64> {
        let mut finished = Vec::new();
        while self.engine.unfinished() > 0 {
            self.end(TransferKind::Store, TransferOutcome::Ok);
            self.end(TransferKind::Load, TransferOutcome::Ok);
            if self.pass().is_none() {
                assert!(!self.transfers.is_empty(), "an unfinished request has a wake-up");
                continue;
            }
            finished.extend(self.effects.finished.iter().map(|done| done.request));
        }
        finished
    }
}

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
    // Two tokens of the 64 go to the decoding sequences.
    assert_eq!(bench.pass(), Some((vec![(62, 0)], 2)));
    assert_eq!(bench.pass(), Some((vec![(38, 62)], 2)));
    assert_eq!(bench.pass(), Some((vec![], 3)));
}

#[test]
fn a_sequence_that_does_not_fit_whole_is_not_overtaken() {
    let mut bench = Bench::new(config(10), None);
    bench.submit(&request(0, &[(1, 60)], 40));
    bench.pass();
    // 7 blocks of 16 tokens do not fit beside the first 4; the small one behind would.
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

/// Prompt 1 was stored in the tier and has left the GPU, whose pool prompt 2 filled.
fn evicted() -> Bench {
    let mut bench = Bench::new(config(8), Some(native(1000)));
    bench.submit(&request(0, &[(1, 97)], 1));
    bench.drain();
    bench.submit(&request(1, &[(2, 127)], 1));
    bench.drain();
    bench.end(TransferKind::Store, TransferOutcome::Ok);
    bench
}

#[test]
fn a_load_defers_only_its_own_request() {
    let mut bench = evicted();
    bench.submit(&request(2, &[(1, 97)], 1));
    bench.submit(&request(3, &[(4, 10)], 3));
    // The first waits for its six chunks; the second runs at once.
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
    // The stores of both prompts are still under way.
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
    // Still in the tier: the next attempt loads again.
    assert_eq!(bench.begin(), Some((vec![(1, 96)], 0)));
    bench.end(TransferKind::Load, TransferOutcome::Ok);
    bench.complete();
    assert_eq!(bench.effects.finished.len(), 1);
}

#[test]
fn a_remote_store_is_asked_once_and_its_answer_is_loaded() {
    let offload = OffloadConfig {
        mechanism: Mechanism::Lmcache,
        load: LoadMode::InPass,
        store: Some(StoreConfig {
            product: "redis".to_owned(),
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
    // Prompt 0 asks for its six chunks and waits; prompt 1 has none to ask for.
    assert_eq!(bench.begin(), Some((vec![(10, 0)], 0)));
    assert_eq!(bench.lookups.len(), 1);
    assert_eq!((bench.lookups[0].from_chunk, bench.lookups[0].to_chunk), (0, 6));
    bench.complete();
    bench.engine.lookup_done(slot, 0, 4);
    assert_eq!(bench.begin(), Some((vec![(33, 64)], 0)));
    assert_eq!(bench.end(TransferKind::Load, TransferOutcome::Ok), 1);
    bench.complete();
    let done = bench.effects.finished[0];
    assert_eq!(done.cached[TierKind::Remote.index()], Tokens(64));
    assert_eq!(bench.lookups.len(), 1);
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
