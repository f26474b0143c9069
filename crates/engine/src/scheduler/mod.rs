//! The engine: vLLM's scheduler as a stepped machine (kv-cache facts of vLLM 0.32).
//!
//! Each pass: running sequences first (decodes, then unfinished prompts, in the order in which
//! they started), then waiting ones while nothing was preempted, the token budget lasts and the
//! sequence fits as a whole. A running sequence that finds no block preempts the one that started
//! last, which is recomputed later. Loads from tiers run beside the passes and defer only their
//! own request.
//!
//! The caller calls `begin`, lets the pass take its time, calls `complete`, and so on; between
//! them it reports arrivals, lookups and transfers. After each call it starts what
//! [`Engine::take_transfers`] and [`Engine::take_lookups`] hand out.

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

/// A request that this engine can never run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error("{tokens} tokens of prompt and answer exceed the longest sequence, {limit}")]
    TooLong { tokens: u32, limit: u32 },
    #[error("{blocks} blocks are needed, and the pool has {limit}")]
    PoolTooSmall {
        /// Blocks of prompt and answer.
        blocks: u32,
        /// Blocks of the pool.
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
    /// Sequences whose load has ended: they go before `waiting`.
    resumed: VecDeque<u32>,
    running: RunningList,
    /// Running sequences with uncomputed tokens, in running order.
    prefilling: Vec<u32>,
    /// Admitted sequences that load, or have loaded and wait for their first pass.
    loading: Vec<u32>,
    decoding: u32,
    /// Sum of the decoding sequences' known tokens before the next pass.
    context_tokens: u64,
    wheel: Wheel,
    pass: u64,
    in_pass: bool,
    shape: PassShape,
    /// Prompt chunks of the pass: slot and new tokens.
    chunks: Vec<(u32, u32)>,
    ending: Vec<u32>,
    /// Sequences that run for the first time in the pass.
    started: Vec<u32>,
    /// Sequences that finished with the last pass.
    ended: Vec<u32>,
    awake: Vec<WakeUp>,
    transfers: Vec<Transfer>,
    lookups: Vec<Lookup>,
    events: Option<Vec<KvEvent>>,
    counters: Counters,
    /// Something changed that may admit a waiting sequence.
    may_admit: bool,
    /// The caller does the I/O; see [`Engine::use_external_io`].
    external_io: bool,
    unfinished: u32,
}

impl Engine {
    /// An idle engine. `events` keeps KV events for [`Engine::take_events`].
    pub fn new(config: EngineConfig, offload: Option<OffloadConfig>, events: bool) -> Self {
        let offload = offload.map(Offload::new);
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
            counters: Counters::default(),
            may_admit: false,
            external_io: false,
            unfinished: 0,
            config,
        }
    }

    /// Sets the time for the periodic tasks of a mechanism. It must not go back.
    pub fn advance(&mut self, now: Nanos) {
        if let Some(offload) = &mut self.offload {
            offload.advance(now);
        }
    }

    /// Puts a request into the waiting queue.
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

    /// A remote lookup ended: the store has `chunks` consecutive chunks from `from_chunk` on.
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
            // It keeps its place before later arrivals.
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

    /// Plans a pass and returns its shape, or nothing when no sequence can run now. The pass is
    /// under way until [`Engine::complete`].
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
        // A pass that preempted admits nobody. One that preempted everybody would be empty and take
        // no time, so the next one's admissions are made at once.
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

    /// Ends the pass that `begin` planned.
    pub fn complete(&mut self, effects: &mut Effects) {
        assert!(self.in_pass, "a pass begins before it ends");
        self.in_pass = false;
        self.counters.passes += 1;
        effects.first_tokens.clear();
        effects.finished.clear();
        effects.pass = self.pass;
        effects.decoding = self.decoding;
        // What was computed, also for those that were aborted meanwhile.
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

    /// Transfers to start now.
    pub fn take_transfers(&mut self, into: &mut Vec<Transfer>) {
        into.append(&mut self.transfers);
    }

    /// Remote lookups to start now.
    pub fn take_lookups(&mut self, into: &mut Vec<Lookup>) {
        into.append(&mut self.lookups);
    }

    /// The caller does the I/O; must be called before the first request. The engine then keeps the
    /// evictions of local tiers for [`Engine::take_evictions`], because the caller must remove the
    /// same chunks. Hits and bytes count at the end of a load, because loads can fail.
    pub fn use_external_io(&mut self) {
        self.external_io = true;
        if let Some(offload) = &mut self.offload {
            offload.log_evictions();
        }
    }

    /// What local tiers evicted since the last call.
    pub fn take_evictions(&mut self, into: &mut Vec<(TierKind, Eviction)>) {
        if let Some(offload) = &mut self.offload {
            offload.take_evictions(into);
        }
    }

    /// Requests that run for the first time in the pass that [`Engine::begin`] planned.
    pub fn started_slots(&self) -> impl Iterator<Item = Slot> {
        self.started.iter().copied().map(Slot)
    }

    /// After [`Engine::complete`], and before any other call: the requests that got a token in
    /// that pass. Those that finished come last: a server has most work with them, and nobody waits
    /// for their next token.
    pub fn token_slots(&self) -> impl Iterator<Item = Slot> {
        // A decoding sequence got a token in this pass, perhaps at the end of its prompt.
        let decodes = |slot: &u32| self.sequences[*slot as usize].phase == Phase::Decode;
        self.running.iter().filter(decodes).chain(self.ended.iter().copied()).map(Slot)
    }

    /// Requests submitted and neither finished nor aborted.
    pub const fn unfinished(&self) -> u32 {
        self.unfinished
    }

    pub const fn running(&self) -> u32 {
        self.running.len()
    }

    /// Requests that wait, look up or load.
    pub const fn waiting(&self) -> u32 {
        self.unfinished - self.running.len()
    }

    pub const fn pool(&self) -> &BlockPool {
        &self.pool
    }

    pub const fn offload(&self) -> Option<&Offload> {
        self.offload.as_ref()
    }

    /// Counters since the engine was made.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Tokens generated so far.
    pub fn generated_tokens(&self, slot: Slot) -> u32 {
        let sequence = &self.sequences[slot.0 as usize];
        if sequence.phase == Phase::Decode {
            // The pass under way has not given its token yet.
            let next_pass = if self.in_pass { self.pass } else { self.pass + 1 };
            sequence.known_at(next_pass) - sequence.prompt_tokens
        } else {
            sequence.generated()
        }
    }

    /// Prompt tokens served per tier, indexed by [`weir_model::TierKind::index`].
    pub fn cached_tokens(&self, slot: Slot) -> [Tokens; 4] {
        self.sequences[slot.0 as usize].cached.map(Tokens)
    }

    /// True when nothing can happen without a call: no pass is possible, and each unfinished
    /// request waits for a lookup or a transfer of the caller. An engine that is stuck otherwise
    /// has lost a wake-up, which is a defect.
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
