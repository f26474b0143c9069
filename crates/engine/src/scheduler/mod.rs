//! The engine: vLLM's scheduler as a stepped machine (kv-cache facts of vLLM 0.32).
//!
//! A pass takes running sequences first (decodes, then unfinished prompts, in starting order). Then
//! it takes waiting ones while nothing was preempted, tokens are left and the sequence fits as a
//! whole. A running sequence without a free block preempts the last started one, which is
//! recomputed later. Loads from tiers run beside passes and defer only their request.
//!
//! The caller alternates `begin` and `complete`, with the pass's duration between, and reports
//! arrivals, lookups and transfers. After each call it starts what [`Engine::take_transfers`] and
//! [`Engine::take_lookups`] return.

mod abort;
mod admission;
mod batch;
mod completion;
mod events;

use std::collections::VecDeque;

use weir_model::{KvEvent, Nanos, Request, TierKind, Tokens};
use weir_tier::chunk_cache::Eviction;

use crate::config::{EngineConfig, OffloadConfig};
use crate::effects::{
    Counters, Effects, Lookup, Slot, Transfer, TransferId, TransferKind, TransferOutcome,
};
use crate::offload::Offload;
use crate::pool::BlockPool;
use crate::running::{RunningList, WakeUp, Wheel};
use crate::sequence::{Phase, Sequence};
use crate::timing::PassShape;

pub use abort::BlocksInUse;

/// The engine can never run this request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error("{tokens} tokens of prompt and answer exceed the longest sequence, {limit}")]
    TooLong { tokens: u32, limit: u32 },
    #[error("{blocks} blocks are needed, and the pool has {limit}")]
    PoolTooSmall {
        /// Of prompt and answer.
        blocks: u32,
        /// Of the pool.
        limit: u32,
    },
    #[error("the prompt is empty")]
    Empty,
}

#[derive(Debug, Clone)]
pub struct Engine {
    config: EngineConfig,
    pool: BlockPool,
    offload: Option<Offload>,
    sequences: Vec<Sequence>,
    vacant: Vec<u32>,
    waiting: VecDeque<u32>,
    /// Their load has ended; they precede `waiting`.
    resumed: VecDeque<u32>,
    running: RunningList,
    /// Have uncomputed known tokens; in running order.
    prefilling: Vec<u32>,
    /// Admitted, in a load or waiting for their first pass after it.
    loading: Vec<u32>,
    decoding: u32,
    /// Known tokens of decoding sequences before the next pass.
    context_tokens: u64,
    wheel: Wheel,
    pass: u64,
    in_pass: bool,
    shape: PassShape,
    /// Slot and new tokens of the pass's prompt chunks.
    chunks: Vec<(u32, u32)>,
    ending: Vec<u32>,
    /// Run for the first time in the pass.
    started: Vec<u32>,
    /// Finished with the last pass.
    ended: Vec<u32>,
    awake: Vec<WakeUp>,
    transfers: Vec<Transfer>,
    lookups: Vec<Lookup>,
    events: Option<Vec<KvEvent>>,
    /// Place of the removal among them that a further one may join.
    removed_at: Option<usize>,
    counters: Counters,
    /// Set by changes that may admit a waiting sequence.
    may_admit: bool,
    /// See [`Engine::use_external_io`].
    external_io: bool,
    unfinished: u32,
}

impl Engine {
    /// `events` keeps KV events for [`Engine::take_events`].
    pub fn new(config: EngineConfig, offload: Option<OffloadConfig>, events: bool) -> Self {
        let mut offload = offload.map(Offload::new);
        if let Some(offload) = offload.as_mut().filter(|_| events) {
            offload.keep_events();
        }
        Self {
            pool: BlockPool::new(config.blocks, config.block_size, events),
            offload,
            sequences: Vec::new(),
            vacant: Vec::new(),
            waiting: VecDeque::new(),
            resumed: VecDeque::new(),
            running: RunningList::new(),
            prefilling: Vec::new(),
            loading: Vec::new(),
            decoding: 0,
            context_tokens: 0,
            wheel: Wheel::new(config.block_size + 1),
            pass: 0,
            in_pass: false,
            shape: PassShape::default(),
            chunks: Vec::new(),
            ending: Vec::new(),
            started: Vec::new(),
            ended: Vec::new(),
            awake: Vec::new(),
            transfers: Vec::new(),
            lookups: Vec::new(),
            events: events.then(Vec::new),
            removed_at: None,
            counters: Counters::default(),
            may_admit: false,
            external_io: false,
            unfinished: 0,
            config,
        }
    }

    /// Time of a mechanism's periodic tasks. Must not decrease.
    pub fn advance(&mut self, now: Nanos) {
        if let Some(offload) = &mut self.offload {
            offload.advance(now);
        }
    }

    pub fn submit(&mut self, request: &Request) -> Result<Slot, SubmitError> {
        let tokens = request.prompt.tokens().0 + request.output_tokens.0;
        if request.prompt.tokens() == Tokens::ZERO {
            return Err(SubmitError::Empty);
        }
        if tokens > self.config.max_model_len {
            return Err(SubmitError::TooLong { tokens, limit: self.config.max_model_len });
        }
        let blocks = tokens.div_ceil(self.config.block_size);
        if blocks > self.config.blocks {
            return Err(SubmitError::PoolTooSmall { blocks, limit: self.config.blocks });
        }
        let sequence = Sequence::new(request);
        let slot = if let Some(slot) = self.vacant.pop() {
            let epoch = self.sequences[slot as usize].epoch;
            self.sequences[slot as usize] = Sequence { epoch, ..sequence };
            slot
        } else {
            self.sequences.push(sequence);
            (self.sequences.len() - 1) as u32
        };
        self.waiting.push_back(slot);
        self.unfinished += 1;
        self.may_admit = true;
        Ok(Slot(slot))
    }

    /// The store has `chunks` consecutive chunks from `from_chunk` on.
    pub fn lookup_done(&mut self, slot: Slot, from_chunk: u32, chunks: u32) {
        let sequence = &mut self.sequences[slot.0 as usize];
        if sequence.phase == Phase::Aborted {
            self.vacate(slot.0);
            return;
        }
        assert_eq!(sequence.phase, Phase::LookingUp, "a result belongs to a lookup");
        sequence.remote = Some((from_chunk, chunks));
        sequence.phase = Phase::Waiting;
        if !self.offload.as_ref().is_some_and(Offload::keeps_order) {
            // It precedes later arrivals.
            self.resumed.push_back(slot.0);
        }
        self.may_admit = true;
    }

    pub fn transfer_done(&mut self, id: TransferId, outcome: TransferOutcome) {
        let arrived = outcome == TransferOutcome::Ok;
        let Some(offload) = &mut self.offload else { return };
        self.may_admit = true;
        let Some(ended) = offload.done(id, arrived) else { return };
        if self.external_io && arrived {
            match ended.kind {
                TransferKind::Store => self.counters.stored_bytes += ended.gpu_bytes.0,
                TransferKind::Load => self.counters.loaded_bytes += ended.gpu_bytes.0,
            }
        }
        if ended.kind == TransferKind::Store {
            return;
        }
        let slot = ended.slot;
        let sequence = &mut self.sequences[slot as usize];
        sequence.loads_open -= 1;
        sequence.load_failed |= !arrived;
        if sequence.loads_open > 0 {
            return;
        }
        if self.external_io {
            self.count_loaded(slot);
        }
        let sequence = &self.sequences[slot as usize];
        match sequence.phase {
            Phase::Loading => self.finish_load(slot),
            Phase::Aborted => self.vacate(slot),
            _ => {}
        }
    }

    /// Plans a pass, which runs until [`Engine::complete`]. None if no sequence can run now.
    pub fn begin(&mut self) -> Option<&PassShape> {
        assert!(!self.in_pass, "a pass ends before the next begins");
        if self.running.len() == 0 && !self.may_admit {
            return None;
        }
        self.may_admit = false;
        self.chunks.clear();
        self.ending.clear();
        self.started.clear();
        self.ended.clear();
        self.pass += 1;
        let preempted = self.schedule_decodes() | self.schedule_prefills();
        // A pass with preemption admits nothing. If it preempted everything, it would be empty and
        // take no time, so admission follows at once.
        if !preempted || self.running.len() == 0 {
            self.schedule_waiting();
        }
        if self.running.len() == 0 {
            self.pass -= 1;
            return None;
        }
        self.in_pass = true;
        self.describe_pass();
        Some(&self.shape)
    }

    /// Ends the pass of [`Engine::begin`].
    pub fn complete(&mut self, effects: &mut Effects) {
        assert!(self.in_pass, "a pass begins before it ends");
        self.in_pass = false;
        self.counters.passes += 1;
        effects.first_tokens.clear();
        effects.finished.clear();
        effects.pass = self.pass;
        effects.decoding = self.decoding;
        // Includes tokens of sequences aborted meanwhile.
        effects.tokens = self.shape.tokens() as u32;
        self.context_tokens += u64::from(self.decoding);
        let ending = std::mem::take(&mut self.ending);
        for slot in &ending {
            self.sequences[*slot as usize].settle_at(self.pass + 1);
            self.context_tokens -= u64::from(self.sequences[*slot as usize].known);
            self.decoding -= 1;
            self.finish(*slot, effects);
        }
        self.ending = ending;
        self.complete_prefills(effects);
    }

    pub fn take_transfers(&mut self, into: &mut Vec<Transfer>) {
        into.append(&mut self.transfers);
    }

    pub fn take_lookups(&mut self, into: &mut Vec<Lookup>) {
        into.append(&mut self.lookups);
    }

    /// The caller does the I/O. Must be called before the first request. Evictions of local tiers
    /// are kept for [`Engine::take_evictions`], because the caller must remove the same chunks.
    /// Hits and bytes count at the end of a load, which can fail.
    pub fn use_external_io(&mut self) {
        self.external_io = true;
        if let Some(offload) = &mut self.offload {
            offload.keep_evictions();
        }
    }

    pub fn take_evictions(&mut self, into: &mut Vec<(TierKind, Eviction)>) {
        if let Some(offload) = &mut self.offload {
            offload.take_evictions(into);
        }
    }

    /// Requests that first run in the pass of [`Engine::begin`].
    pub fn started_slots(&self) -> impl Iterator<Item = Slot> {
        self.started.iter().copied().map(Slot)
    }

    /// Requests with a token from the last pass; valid only directly after [`Engine::complete`].
    /// Finished ones are last: they are the most work for a server, and no next token depends on
    /// them.
    pub fn token_slots(&self) -> impl Iterator<Item = Slot> {
        // Also true for a prompt that ended in this pass.
        let decodes = |slot: &u32| self.sequences[*slot as usize].phase == Phase::Decode;
        self.running.iter().filter(decodes).chain(self.ended.iter().copied()).map(Slot)
    }

    /// Submitted, neither finished nor aborted.
    pub const fn unfinished(&self) -> u32 {
        self.unfinished
    }

    pub const fn running(&self) -> u32 {
        self.running.len()
    }

    /// Waiting, in a lookup or in a load.
    pub const fn waiting(&self) -> u32 {
        self.unfinished - self.running.len()
    }

    pub const fn pool(&self) -> &BlockPool {
        &self.pool
    }

    pub const fn offload(&self) -> Option<&Offload> {
        self.offload.as_ref()
    }

    /// Since the engine's start.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    pub fn generated_tokens(&self, slot: Slot) -> u32 {
        let sequence = &self.sequences[slot.0 as usize];
        if sequence.phase == Phase::Decode {
            // The current pass has not given its token yet.
            let next_pass = if self.in_pass { self.pass } else { self.pass + 1 };
            sequence.known_at(next_pass) - sequence.prompt_tokens
        } else {
            sequence.generated()
        }
    }

    /// Prompt tokens per tier, indexed by [`weir_model::TierKind::index`].
    pub fn cached_tokens(&self, slot: Slot) -> [Tokens; 4] {
        self.sequences[slot.0 as usize].cached.map(Tokens)
    }

    /// True if only a call can change anything: no pass is possible, and each request waits for a
    /// lookup or transfer. An engine stuck otherwise has lost a wake-up, which is a defect.
    pub fn is_quiescent(&self) -> bool {
        let under_way = self
            .sequences
            .iter()
            .filter(|sequence| matches!(sequence.phase, Phase::LookingUp | Phase::Loading))
            .count();
        let stores = self.offload.as_ref().map_or(0, Offload::open_transfers);
        !self.may_admit
            && self.running.len() == 0
            && (self.unfinished == 0 || under_way + stores > 0)
    }
}
