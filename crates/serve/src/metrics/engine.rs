//! Histograms and counters of one engine.

use weir_model::{Nanos, TierKind, Tokens};

use super::histogram::{Bounds, Histogram};

const FIRST_TOKEN_SECONDS: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
const TOKEN_SECONDS: [f64; 19] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
const REQUEST_SECONDS: [f64; 21] = [
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];
const PASS_TOKENS: [u64; 13] = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];
const ANSWERS: [u64; 5] = [1, 2, 5, 10, 20];
const PREEMPTIONS_OF_A_REQUEST: [u64; 7] = [1, 2, 3, 4, 5, 10, 20];
const TRANSFER_BYTES: [u64; 10] = [
    1_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    40_000_000,
    60_000_000,
    80_000_000,
    100_000_000,
    150_000_000,
    200_000_000,
];
const STORE_CHUNKS: [u64; 10] = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144];
/// Seconds per call of the lookup.
const LOOKUP_CALL_SECONDS: [f64; 11] =
    [0.00001, 0.00005, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0];
/// Seconds until a deferred lookup is resolved.
const LOOKUP_WAIT_SECONDS: [f64; 11] =
    [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// In the order of vLLM's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// End-of-sequence token or stop text.
    Stop,
    Length,
    /// The client disconnected.
    Abort,
    Error,
    Repetition,
}

impl FinishReason {
    /// vLLM's names, in the order of the variants.
    pub(super) const NAMES: [&'static str; 5] = ["stop", "length", "abort", "error", "repetition"];
}

/// The caller chooses the origin of the times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinishedRequest {
    pub reason: FinishReason,
    /// Receipt by the server.
    pub arrived: Nanos,
    pub queued: Nanos,
    pub scheduled: Nanos,
    pub first_token: Nanos,
    pub last_token: Nanos,
    /// Time at which the server noticed the end.
    pub ended: Nanos,
    pub prompt_tokens: Tokens,
    /// From all caches, the offload mechanism's included.
    pub cached_tokens: Tokens,
    pub output_tokens: Tokens,
    /// `max_tokens` after clamping to the context.
    pub max_tokens: Option<Tokens>,
    pub preemptions: u16,
}

#[derive(Debug, Clone)]
pub struct EngineMetrics {
    pub(super) first_token: Histogram,
    pub(super) token_gap: Histogram,
    pub(super) time_per_output_token: Histogram,
    pub(super) end_to_end: Histogram,
    pub(super) queue: Histogram,
    pub(super) inference: Histogram,
    pub(super) prefill: Histogram,
    pub(super) decode: Histogram,
    pub(super) prompt_tokens: Histogram,
    pub(super) generation_tokens: Histogram,
    pub(super) pass_tokens: Histogram,
    pub(super) most_generation_tokens: Histogram,
    pub(super) answers: Histogram,
    pub(super) max_tokens: Histogram,
    pub(super) preemptions: Histogram,
    pub(super) computed_tokens: Histogram,
    pub(super) offload: OffloadHistograms,
    pub(super) prompt_tokens_total: u64,
    pub(super) local_hit_tokens: u64,
    pub(super) external_hit_tokens: u64,
    pub(super) generation_tokens_total: u64,
    pub(super) finished: [u64; FinishReason::NAMES.len()],
    /// First tokens since the last pass, and the prompt tokens computed for them.
    open_first_tokens: u64,
    open_computed_tokens: u64,
}

#[derive(Debug, Clone)]
pub(super) struct OffloadHistograms {
    pub(super) load_bytes: Histogram,
    pub(super) store_bytes: Histogram,
    pub(super) store_chunks: Histogram,
    pub(super) lookup_call: Histogram,
    pub(super) lookup_wait: Histogram,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferWay {
    Load,
    Store,
}

impl EngineMetrics {
    pub(super) fn new(max_model_tokens: u32) -> Self {
        let tokens = Histogram::new(&Bounds::one_two_five(u64::from(max_model_tokens)));
        let gaps = Histogram::new(&Bounds::seconds(&TOKEN_SECONDS));
        let phases = Histogram::new(&Bounds::seconds(&REQUEST_SECONDS));
        let transfers = Histogram::new(&Bounds::counts(&TRANSFER_BYTES));
        Self {
            first_token: Histogram::new(&Bounds::seconds(&FIRST_TOKEN_SECONDS)),
            token_gap: gaps.clone(),
            time_per_output_token: gaps,
            end_to_end: phases.clone(),
            queue: phases.clone(),
            inference: phases.clone(),
            prefill: phases.clone(),
            decode: phases,
            prompt_tokens: tokens.clone(),
            generation_tokens: tokens.clone(),
            pass_tokens: Histogram::new(&Bounds::counts(&PASS_TOKENS)),
            most_generation_tokens: tokens.clone(),
            answers: Histogram::new(&Bounds::counts(&ANSWERS)),
            max_tokens: tokens.clone(),
            preemptions: Histogram::new(&Bounds::counts(&PREEMPTIONS_OF_A_REQUEST)),
            computed_tokens: tokens,
            offload: OffloadHistograms {
                load_bytes: transfers.clone(),
                store_bytes: transfers,
                store_chunks: Histogram::new(&Bounds::counts(&STORE_CHUNKS)),
                lookup_call: Histogram::new(&Bounds::seconds(&LOOKUP_CALL_SECONDS)),
                lookup_wait: Histogram::new(&Bounds::seconds(&LOOKUP_WAIT_SECONDS)),
            },
            prompt_tokens_total: 0,
            local_hit_tokens: 0,
            external_hit_tokens: 0,
            generation_tokens_total: 0,
            finished: [0; FinishReason::NAMES.len()],
            open_first_tokens: 0,
            open_computed_tokens: 0,
        }
    }

    pub(super) const fn cached_tokens(&self) -> u64 {
        self.local_hit_tokens + self.external_hit_tokens
    }

    /// `waited` counts from receipt; `cached` prompt tokens are indexed by [`TierKind::index`].
    /// Call it before [`Self::pass_ended`] of the same pass.
    pub fn first_token(&mut self, waited: Nanos, prompt: Tokens, cached: &[Tokens; 4]) {
        let local = u64::from(cached[TierKind::Gpu.index()].0);
        let external: u64 =
            cached[TierKind::Host.index()..].iter().map(|tokens| u64::from(tokens.0)).sum();
        let prompt = u64::from(prompt.0);
        self.first_token.record(waited.0);
        self.prompt_tokens_total += prompt;
        self.local_hit_tokens += local;
        self.external_hit_tokens += external;
        self.open_first_tokens += 1;
        self.open_computed_tokens += prompt.saturating_sub(local + external);
    }

    /// `decoding` sequences got one token each, `gap` after the last. As in vLLM, computed prompt
    /// tokens count in the pass that completes the prompt, and a pass without tokens is not
    /// counted.
    pub fn pass_ended(&mut self, gap: Nanos, decoding: u32) {
        let decoding = u64::from(decoding);
        let generated = decoding + std::mem::take(&mut self.open_first_tokens);
        let computed = std::mem::take(&mut self.open_computed_tokens);
        if generated == 0 {
            return;
        }
        self.generation_tokens_total += generated;
        self.pass_tokens.record(computed + generated);
        if decoding > 0 {
            self.token_gap.record_many(gap.0, decoding);
        }
    }

    /// One call per answer of a request.
    pub fn finished(&mut self, it: &FinishedRequest) {
        let span = |from: Nanos, to: Nanos| to.saturating_sub(from).0;
        let decode = span(it.first_token, it.last_token);
        let gaps = u64::from(it.output_tokens.0.saturating_sub(1));
        let prompt = u64::from(it.prompt_tokens.0);
        self.finished[it.reason as usize] += 1;
        self.end_to_end.record(span(it.arrived, it.ended));
        self.queue.record(span(it.queued, it.scheduled));
        self.prefill.record(span(it.scheduled, it.first_token));
        self.inference.record(span(it.scheduled, it.last_token));
        self.decode.record(decode);
        self.preemptions.record(u64::from(it.preemptions));
        self.computed_tokens.record(prompt.saturating_sub(u64::from(it.cached_tokens.0)));
        self.prompt_tokens.record(prompt);
        self.generation_tokens.record(u64::from(it.output_tokens.0));
        self.time_per_output_token.record(decode.checked_div(gaps).unwrap_or(0));
        if let Some(max_tokens) = it.max_tokens {
            self.max_tokens.record(u64::from(max_tokens.0));
        }
    }

    /// All answers ended; the longest has `longest` tokens.
    pub fn answered(&mut self, answers: u32, longest: Tokens) {
        self.answers.record(u64::from(answers));
        self.most_generation_tokens.record(u64::from(longest.0));
    }

    /// Between GPU and host.
    pub fn transferred(&mut self, way: TransferWay, bytes: u64) {
        match way {
            TransferWay::Load => self.offload.load_bytes.record(bytes),
            TransferWay::Store => self.offload.store_bytes.record(bytes),
        }
    }

    /// Chunks for which space in the host tier was requested.
    pub fn store_prepared(&mut self, chunks: u64) {
        self.offload.store_chunks.record(chunks);
    }
}
