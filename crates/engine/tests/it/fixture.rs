use weir_engine::timing::PrefillChunk;
use weir_engine::{
    ChunkBytes, Effects, Engine, EngineConfig, LoadMode, Lookup, OffloadConfig, Slot, Transfer,
    TransferKind, TransferOutcome,
};
use weir_model::{Bytes, ContentId, Mechanism, Nanos, Piece, Prompt, Request, TierKind, Tokens};
use weir_tier::{EvictionPolicy, LinkConfig, TierConfig};

pub(crate) fn config(blocks: u32) -> EngineConfig {
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

pub(crate) fn link() -> LinkConfig {
    LinkConfig {
        base_latency: Nanos::ZERO,
        per_copy: Nanos::ZERO,
        read_bytes_per_s: 1e9,
        write_bytes_per_s: 1e9,
        lanes: 1,
    }
}

pub(crate) fn native(tokens: u64) -> OffloadConfig {
    OffloadConfig {
        mechanism: Mechanism::Native,
        chunk_tokens: 16,
        chunk_bytes: ChunkBytes::whole(160),
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

pub(crate) fn request(id: u64, pieces: &[(u64, u32)], output_tokens: u32) -> Request {
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

/// An engine with its transfers and lookups in flight.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) effects: Effects,
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) lookups: Vec<Lookup>,
}

/// (new, context) of the prompt chunks, and the number of decoding sequences.
pub(crate) type Shape = (Vec<(u32, u32)>, u32);

impl Bench {
    pub(crate) fn new(config: EngineConfig, offload: Option<OffloadConfig>) -> Self {
        let engine = Engine::new(config, offload, false);
        let (transfers, lookups) = (Vec::new(), Vec::new());
        Self { engine, effects: Effects::default(), transfers, lookups }
    }

    pub(crate) fn submit(&mut self, request: &Request) -> Slot {
        self.engine.submit(request).expect("the request fits")
    }

    pub(crate) fn begin(&mut self) -> Option<Shape> {
        let shape = self.engine.begin().map(|shape| {
            let chunk = |chunk: &PrefillChunk| (chunk.new_tokens, chunk.context_tokens);
            (shape.prefill.iter().map(chunk).collect(), shape.decoding)
        });
        self.collect();
        shape
    }

    pub(crate) fn complete(&mut self) {
        self.engine.complete(&mut self.effects);
        self.collect();
    }

    pub(crate) fn pass(&mut self) -> Option<Shape> {
        let shape = self.begin()?;
        self.complete();
        Some(shape)
    }

    pub(crate) fn collect(&mut self) {
        self.engine.take_transfers(&mut self.transfers);
        self.engine.take_lookups(&mut self.lookups);
    }

    /// Ends all transfers of a kind.
    pub(crate) fn end(&mut self, kind: TransferKind, outcome: TransferOutcome) -> usize {
        let (ended, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.transfers).into_iter().partition(|t| t.kind == kind);
        self.transfers = rest;
        for transfer in &ended {
            self.engine.transfer_done(transfer.id, outcome);
        }
        ended.len()
    }

    /// Runs until idle; returns what finished, in order.
    pub(crate) fn drain(&mut self) -> Vec<u64> {
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

/// Prompt 1 is in the tier but not on the GPU, whose pool prompt 2 filled.
pub(crate) fn evicted() -> Bench {
    let mut bench = Bench::new(config(8), Some(native(1000)));
    bench.submit(&request(0, &[(1, 97)], 1));
    bench.drain();
    bench.submit(&request(1, &[(2, 127)], 1));
    bench.drain();
    bench.end(TransferKind::Store, TransferOutcome::Ok);
    bench
}
