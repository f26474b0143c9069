use weir_model::{Prompt, Request};

use crate::offload::Segment;
use crate::pool::Holding;

/// Every phase but `Done` has a future wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Waiting,
    /// The lookup's result wakes it.
    LookingUp,
    /// The load's end wakes it.
    Loading,
    /// Running, with uncomputed known tokens.
    Prefill,
    /// Running, one token per pass.
    Decode,
    /// Aborted in a lookup or load, whose end frees blocks and slot.
    Aborted,
    Done,
}

/// State of the prompt tokens from caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hits {
    /// Before the first admission.
    Unknown,
    /// With external I/O, hits of tiers count at the end of their loads.
    Decided,
    /// The loads have ended.
    Arrived,
}

#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    pub(crate) request: u64,
    /// Prompt and whole answer; only the first `known` tokens count.
    pub(crate) tokens: Prompt,
    pub(crate) prompt_tokens: u32,
    pub(crate) output_tokens: u32,
    pub(crate) phase: Phase,
    pub(crate) holding: Holding,
    /// Tokens with KV. Stale during decode; see [`Sequence::at_pass`].
    pub(crate) computed: u32,
    /// Prompt and generated tokens. Stale during decode.
    pub(crate) known: u32,
    /// Last pass after which `computed` and `known` were exact.
    pub(crate) decode_base: u64,
    /// Changes at the end of decode, which voids old wake-ups.
    pub(crate) epoch: u32,
    /// Among running sequences.
    pub(crate) order: u64,
    pub(crate) first_step: Option<u64>,
    /// Prompt tokens per tier at the first admission.
    pub(crate) cached: [u32; 4],
    pub(crate) hits: Hits,
    pub(crate) preemptions: u16,
    /// Of the remote lookup: first chunk, and number found.
    pub(crate) remote: Option<(u32, u32)>,
    pub(crate) loading: Vec<Segment>,
    pub(crate) loads_open: u32,
    /// A load failed, so its blocks are invalid.
    pub(crate) load_failed: bool,
    /// Remains true after a preemption.
    pub(crate) has_run: bool,
}

impl Sequence {
    pub(crate) fn new(request: &Request) -> Self {
        let answer = weir_model::Piece::new(request.output, request.output_tokens.0);
        Self {
            request: request.id,
            tokens: request.prompt.followed_by([answer]),
            prompt_tokens: request.prompt.tokens().0,
            output_tokens: request.output_tokens.0.max(1),
            phase: Phase::Waiting,
            holding: Holding::default(),
            computed: 0,
            known: request.prompt.tokens().0,
            decode_base: 0,
            epoch: 0,
            order: 0,
            first_step: None,
            cached: [0; 4],
            hits: Hits::Unknown,
            preemptions: 0,
            remote: None,
            loading: Vec::new(),
            loads_open: 0,
            load_failed: false,
            has_run: false,
        }
    }

    /// In decode, at the start of the pass.
    pub(crate) const fn known_at(&self, pass: u64) -> u32 {
        self.known + (pass - 1 - self.decode_base) as u32
    }

    /// Makes the counts exact as of the start of `pass`.
    pub(crate) fn settle_at(&mut self, pass: u64) {
        self.known = self.known_at(pass);
        self.computed = self.known - 1;
        self.decode_base = pass - 1;
    }

    pub(crate) const fn generated(&self) -> u32 {
        self.known - self.prompt_tokens
    }
}
