//! `/metrics` as vLLM 0.32 serves it: names, help texts, labels, buckets and their order.
//!
//! Owns what must be recorded as it happens (histograms and the counters that go with them, in
//! [`EngineMetrics`]) and the page itself ([`Metrics::page`]). The present state of the engines is
//! not kept here: it comes with the scrape, as one [`EngineSnapshot`] per engine.
//!
//! Nothing is recorded per token. All sequences that decode in a pass got their tokens at the same
//! time, so a pass records its gap once, times the number of sequences; times stay whole
//! nanoseconds until they are printed.

mod mover;
mod exposition;
mod families;
mod histogram;
mod page;
mod snapshot;
#[cfg(test)]
mod tests;

use weir_model::{Nanos, TierKind, Tokens};

use families as f;
use histogram::{Bounds, Histogram};

pub(crate) use mover::page as mover_page;
pub use page::CONTENT_TYPE;
pub use snapshot::{
    CacheConfig, EngineSnapshot, ExternalHits, FetchStages, LmcacheSnapshot, OffloadSnapshot,
};

/// Why a request ended. In the order of vLLM's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// An end-of-sequence token or a stop text.
    Stop,
    Length,
    /// Its client gave up.
    Abort,
    /// A failure of the engine.
    Error,
    Repetition,
}

impl FinishReason {
    /// All of them, in the order of vLLM's page.
    pub const ALL: [Self; 5] =
        [Self::Stop, Self::Length, Self::Abort, Self::Error, Self::Repetition];

    /// The word in metrics and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
            Self::Error => "error",
            Self::Repetition => "repetition",
        }
    }
}

/// A sequence that has ended. Times count from wherever the caller counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinishedRequest {
    pub reason: FinishReason,
    /// When the server received it.
    pub arrived: Nanos,
    pub queued: Nanos,
    /// When it first ran.
    pub scheduled: Nanos,
    pub first_token: Nanos,
    pub last_token: Nanos,
    /// When the server saw its end.
    pub ended: Nanos,
    pub prompt_tokens: Tokens,
    /// Prompt tokens served from caches, the offload mechanism's included.
    pub cached_tokens: Tokens,
    pub output_tokens: Tokens,
    /// The limit that its `max_tokens` set, after clamping to the context.
    pub max_tokens: Option<Tokens>,
    pub preemptions: u16,
}

/// Histograms and counters of one engine.
#[derive(Debug, Clone)]
pub struct EngineMetrics {
    first_token: Histogram,
    token_gap: Histogram,
    time_per_output_token: Histogram,
    end_to_end: Histogram,
    queue: Histogram,
    inference: Histogram,
    prefill: Histogram,
    decode: Histogram,
    prompt_tokens: Histogram,
    generation_tokens: Histogram,
    pass_tokens: Histogram,
    most_generation_tokens: Histogram,
    answers: Histogram,
    max_tokens: Histogram,
    preemptions: Histogram,
    computed_tokens: Histogram,
    offload: OffloadHistograms,
    prompt_tokens_total: u64,
    local_hit_tokens: u64,
    external_hit_tokens: u64,
    generation_tokens_total: u64,
    finished: [u64; FinishReason::ALL.len()],
    /// First tokens since the last pass was closed, and the prompt tokens computed for them.
    open_first_tokens: u64,
    open_computed_tokens: u64,
}

/// What the offload connector's single operations were like. Empty until something happened.
#[derive(Debug, Clone)]
struct OffloadHistograms {
    load_bytes: Histogram,
    store_bytes: Histogram,
    store_chunks: Histogram,
    lookup_call: Histogram,
    lookup_wait: Histogram,
}

/// Which way a transfer of the offload connector went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferWay {
    /// From the host to the GPU.
    Load,
    /// From the GPU to the host.
    Store,
}

impl EngineMetrics {
    fn new(max_model_tokens: u32) -> Self {
        let tokens = Histogram::new(&Bounds::one_two_five(u64::from(max_model_tokens)));
        let gaps = Histogram::new(&Bounds::seconds(&f::TOKEN_SECONDS));
        let phases = Histogram::new(&Bounds::seconds(&f::REQUEST_SECONDS));
        let transfers = Histogram::new(&Bounds::counts(&f::TRANSFER_BYTES));
        Self {
            first_token: Histogram::new(&Bounds::seconds(&f::FIRST_TOKEN_SECONDS)),
            token_gap: gaps.clone(),
            time_per_output_token: gaps,
            end_to_end: phases.clone(),
            queue: phases.clone(),
            inference: phases.clone(),
            prefill: phases.clone(),
            decode: phases,
            prompt_tokens: tokens.clone(),
            generation_tokens: tokens.clone(),
            pass_tokens: Histogram::new(&Bounds::counts(&f::PASS_TOKENS)),
            most_generation_tokens: tokens.clone(),
            answers: Histogram::new(&Bounds::counts(&f::ANSWERS)),
            max_tokens: tokens.clone(),
            preemptions: Histogram::new(&Bounds::counts(&f::PREEMPTIONS_OF_A_REQUEST)),
            computed_tokens: tokens,
            offload: OffloadHistograms {
                load_bytes: transfers.clone(),
                store_bytes: transfers,
                store_chunks: Histogram::new(&Bounds::counts(&f::STORE_CHUNKS)),
                lookup_call: Histogram::new(&Bounds::seconds(&f::LOOKUP_CALL_SECONDS)),
                lookup_wait: Histogram::new(&Bounds::seconds(&f::LOOKUP_WAIT_SECONDS)),
            },
            prompt_tokens_total: 0,
            local_hit_tokens: 0,
            external_hit_tokens: 0,
            generation_tokens_total: 0,
            finished: [0; FinishReason::ALL.len()],
            open_first_tokens: 0,
            open_computed_tokens: 0,
        }
    }

    /// A request's first token came, `waited` after the server received it. `cached` are the prompt
    /// tokens that came from caches, indexed by [`TierKind::index`]. Call it before
    /// [`Self::pass_ended`] of the pass that brought the token.
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

    /// A pass ended that gave `decoding` sequences one more token each, `gap` after the one
    /// before. As in vLLM, a prompt's computed tokens count in the pass that completes it, and a
    /// pass that gives no token is not counted.
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

    /// A sequence ended. One call per answer where a request asked for several.
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

    /// All answers of a request ended; the longest had `longest` tokens.
    pub fn answered(&mut self, answers: u32, longest: Tokens) {
        self.answers.record(u64::from(answers));
        self.most_generation_tokens.record(u64::from(longest.0));
    }

    /// A transfer between GPU and host ended.
    pub fn transferred(&mut self, way: TransferWay, bytes: u64) {
        match way {
            TransferWay::Load => self.offload.load_bytes.record(bytes),
            TransferWay::Store => self.offload.store_bytes.record(bytes),
        }
    }

    /// Room was asked for `chunks` chunks of the host tier.
    pub fn store_prepared(&mut self, chunks: u64) {
        self.offload.store_chunks.record(chunks);
    }

    /// A lookup was answered at once, in `took`.
    pub fn looked_up(&mut self, took: Nanos) {
        self.offload.lookup_call.record(took.0);
    }

    /// A lookup that had deferred its request was resolved after `waited`.
    pub fn lookup_resolved(&mut self, waited: Nanos) {
        self.offload.lookup_wait.record(waited.0);
    }
}

/// The metrics of all engines of a server.
#[derive(Debug, Clone)]
pub struct Metrics {
    model: String,
    created: f64,
    engines: Vec<EngineMetrics>,
}

impl Metrics {
    /// Metrics of `engines` engines that serve `model`, made `created` seconds after 1970.
    pub fn new(model: &str, engines: u16, max_model_tokens: u32, created: f64) -> Self {
        let engine = EngineMetrics::new(max_model_tokens);
        Self { model: model.to_owned(), created, engines: vec![engine; usize::from(engines)] }
    }

    /// Where an engine's events are recorded. Panics when there is no such engine.
    pub fn engine(&mut self, engine: u16) -> &mut EngineMetrics {
        &mut self.engines[usize::from(engine)]
    }

    /// The page, of [`CONTENT_TYPE`]. `state` has one entry per engine, in order.
    pub fn page(&self, cache: &CacheConfig, state: &[EngineSnapshot]) -> String {
        exposition::page(self, cache, state)
    }
}
