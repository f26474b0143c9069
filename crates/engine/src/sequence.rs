//! One request inside the engine.

use weir_model::{Prompt, Request};

use crate::offload::Segment;
use crate::pool::Holding;

/// Every phase but `Done` has a concrete future wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// In the waiting queue of the next pass.
    Waiting,
    /// In a remote lookup, whose result wakes it.
    LookingUp,
    /// In a load, whose end wakes it.
    Loading,
    /// Running, with uncomputed known tokens.
    Prefill,
    /// Running, one token per pass.
    Decode,
    /// Aborted during a lookup or loads; their end frees blocks and slot.
    Aborted,
    /// The slot is free.
    Done,
}

/// State of the prompt tokens that caches serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hits {
    /// Before the first admission.
    Unknown,
    /// Decided. With external I/O, those of tiers count at the end of their loads.
    Decided,
    /// The loads from tiers have ended.
    Arrived,
}

#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    pub(crate) request: u64,
    /// Prompt followed by the whole answer; only the first `known` tokens count.
    pub(crate) tokens: Prompt,
    pub(crate) prompt_tokens: u32,
    pub(crate) output_tokens: u32,
    pub(crate) phase: Phase,
    pub(crate) holding: Holding,
    /// Tokens whose KV is there. Kept up to date outside of decode; see [`Sequence::at_pass`].
    pub(crate) computed: u32,
    /// Prompt and generated tokens. Kept up to date outside of decode.
    pub(crate) known: u32,
    /// The pass after which `computed` and `known` were last right, in decode.
    pub(crate) decode_base: u64,
    /// Changes when the sequence leaves decode, so that old wake-ups are void.
    pub(crate) epoch: u32,
    /// Place in the order of running sequences.
    pub(crate) order: u64,
    pub(crate) first_step: Option<u64>,
    /// Prompt tokens served per tier at the first admission.
    pub(crate) cached: [u32; 4],
    pub(crate) hits: Hits,
    pub(crate) preemptions: u16,
    /// Result of the remote lookup: its first chunk, and the number found.
    pub(crate) remote: Option<(u32, u32)>,
    pub(crate) loading: Vec<Segment>,
    pub(crate) loads_open: u32,
    /// A load failed: its blocks cannot be used.
    pub(crate) load_failed: bool,
    /// It has run, before a preemption perhaps.
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

    /// Known tokens at the start of a pass, in decode.
    pub(crate) const fn known_at(&self, pass: u64) -> u32 {
        self.known + (pass - 1 - self.decode_base) as u32
    }

    /// Writes down the state as it is before `pass`, leaving decode's implicit counting.
    pub(crate) fn settle_at(&mut self, pass: u64) {
        self.known = self.known_at(pass);
        self.computed = self.known - 1;
        self.decode_base = pass - 1;
    }

    pub(crate) const fn generated(&self) -> u32 {
        self.known - self.prompt_tokens
    }
}
