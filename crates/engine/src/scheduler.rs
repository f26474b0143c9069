//! The engine: vLLM's scheduler as a stepped machine (kv-cache facts of vLLM 0.32).
//!
//! Each pass: running sequences first (decodes, then unfinished prompts, in the order in which
//! they started), then waiting ones while nothing was preempted, the token budget lasts and the
//! sequence fits as a whole. A running sequence that finds no block preempts the one that started
//! last, which is recomputed later. Loads from tiers run beside the passes and defer only their
//! own request.
//!
//! The driver calls `begin`, lets the pass take its time, calls `complete`, and so on; between
//! them it reports arrivals, lookups and transfers. After each call it starts what
//! [`Engine::take_transfers`] and [`Engine::take_lookups`] hand out.

use std::collections::VecDeque;

use weir_model::{KvEvent, Request, TierKind, Tokens};

use crate::config::{EngineConfig, LoadMode, OffloadConfig};
use crate::effects::{
    Counters, Effects, Finished, Lookup, Slot, Transfer, TransferId, TransferKind, TransferOutcome,
};
use crate::offload::{Answer, Offload, Segment};
use crate::pool::{BlockPool, Holding};
use crate::running::{RunningList, WakeUp, Wheel};
use crate::sequence::{Phase, Sequence};
use crate::timing::{PassShape, PrefillChunk};

/// A request that this engine can never run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Prompt and answer are longer than the longest sequence.
    #[error("{tokens} tokens of prompt and answer exceed the longest sequence, {limit}")]
    TooLong {
        /// Prompt and answer.
        tokens: u32,
        /// `max_model_len`.
        limit: u32,
    },
    /// The whole pool could not hold it.
    #[error("{blocks} blocks are needed, and the pool has {limit}")]
    PoolTooSmall {
        /// Blocks of prompt and answer.
        blocks: u32,
        /// Blocks of the pool.
        limit: u32,
    },
    /// Nothing is asked.
    #[error("the prompt is empty")]
    Empty,
}

/// The engine. See the module's header.
#[derive(Debug, Clone)]
pub struct Engine {
    config: EngineConfig,
    pub(crate) pool: BlockPool,
    offload: Option<Offload>,
    pub(crate) sequences: Vec<Sequence>,
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
    awake: Vec<WakeUp>,
    transfers: Vec<Transfer>,
    lookups: Vec<Lookup>,
    pub(crate) events: Option<Vec<KvEvent>>,
    pub(crate) counters: Counters,
    /// Set when something happened that may let a waiting sequence in.
    stirred: bool,
    unfinished: u32,
}

impl Engine {
    /// An idle engine. `events` keeps KV events for [`Engine::take_events`].
    pub fn new(config: EngineConfig, offload: Option<OffloadConfig>, events: bool) -> Self {
        let offload = offload.map(|offload| Offload::new(offload, config.kv_bytes_per_token));
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
            awake: Vec::new(),
            transfers: Vec::new(),
            lookups: Vec::new(),
            events: events.then(Vec::new),
            counters: Counters::default(),
            stirred: false,
            unfinished: 0,
            config,
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
        self.stirred = true;
        Ok(Slot(slot))
    }

    /// The answer of a remote lookup: `chunks` consecutive chunks from `from_chunk` on.
    pub fn lookup_done(&mut self, slot: Slot, from_chunk: u32, chunks: u32) {
        let sequence = &mut self.sequences[slot.0 as usize];
        assert_eq!(sequence.phase, Phase::LookingUp, "an answer belongs to a question");
        sequence.remote = Some((from_chunk, chunks));
        sequence.phase = Phase::Waiting;
        // Its place in the queue was kept in front of later arrivals.
        self.resumed.push_back(slot.0);
        self.stirred = true;
    }

    /// A transfer has ended.
    pub fn transfer_done(&mut self, id: TransferId, outcome: TransferOutcome) {
        let arrived = outcome == TransferOutcome::Ok;
        let Some(offload) = &mut self.offload else { return };
        self.stirred = true;
        let Some(slot) = offload.done(id, arrived) else { return };
        let sequence = &mut self.sequences[slot as usize];
        sequence.loads_open -= 1;
        sequence.load_failed |= !arrived;
        if sequence.loads_open == 0 && sequence.phase == Phase::Loading {
            self.finish_load(slot);
        }
    }

    /// Plans a pass and returns its shape, or nothing when no sequence can run now. The pass is
    /// under way until [`Engine::complete`].
    pub fn begin(&mut self) -> Option<&PassShape> {
        assert!(!self.in_pass, "a pass ends before the next begins");
        if self.running.len() == 0 && !self.stirred {
            return None;
        }
        self.stirred = false;
        self.chunks.clear();
        self.ending.clear();
        self.pass += 1;
        let preempted = self.schedule_decodes() | self.schedule_prefills();
        if !preempted {
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
        effects.tokens = self.decoding + self.chunks.iter().map(|(_, new)| *new).sum::<u32>();
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

    /// Requests submitted and not finished.
    pub const fn unfinished(&self) -> u32 {
        self.unfinished
    }

    /// Requests that run.
    pub const fn running(&self) -> u32 {
        self.running.len()
    }

    /// Requests that wait, look up or load.
    pub const fn waiting(&self) -> u32 {
        self.unfinished - self.running.len()
    }

    /// The block pool.
    pub const fn pool(&self) -> &BlockPool {
        &self.pool
    }

    /// The offload mechanism.
    pub const fn offload(&self) -> Option<&Offload> {
        self.offload.as_ref()
    }

    /// Counters since the engine was made.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Tokens that a request in this place has been given so far.
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

    /// True when nothing can happen without a call from outside: no pass is possible, and each
    /// unfinished request waits for a lookup or a transfer that was handed out. An engine that
    /// is stuck otherwise has lost a wake-up, which is a defect.
    pub fn is_quiescent(&self) -> bool {
        let under_way = self
            .sequences
            .iter()
            .filter(|sequence| matches!(sequence.phase, Phase::LookingUp | Phase::Loading))
            .count();
        let stores = self.offload.as_ref().map_or(0, Offload::open_transfers);
        !self.stirred && self.running.len() == 0 && (self.unfinished == 0 || under_way + stores > 0)
    }

    // ---- running sequences ------------------------------------------------------------------

    /// Gives decoding sequences their blocks. True when something was preempted.
    fn schedule_decodes(&mut self) -> bool {
        let mut awake = std::mem::take(&mut self.awake);
        self.wheel.take(self.pass, &mut awake);
        if (awake.len() as u64) > u64::from(self.pool.free_blocks()) {
            // Who preempts whom depends on the order, but only when blocks are short.
            awake.sort_by_key(|wake| self.sequences[wake.slot as usize].order);
        }
        let mut preempted = false;
        for wake in &awake {
            if self.sequences[wake.slot as usize].epoch == wake.epoch {
                preempted |= self.advance_decode(wake.slot);
            }
        }
        self.awake = awake;
        preempted
    }

    /// What a decoding sequence needs in this pass, and its next wake-up. True when something was
    /// preempted for it.
    fn advance_decode(&mut self, slot: u32) -> bool {
        let block = self.config.block_size;
        let mut preempted = false;
        let position = self.sequences[slot as usize].known_at(self.pass) - 1;
        if position >= self.sequences[slot as usize].holding.blocks() * block {
            loop {
                let holding = &mut self.sequences[slot as usize].holding;
                if self.pool.allocate(holding, 1) {
                    break;
                }
                preempted = true;
                if self.preempt_last() == slot {
                    return true;
                }
            }
        }
        if (position + 1).is_multiple_of(block) {
            self.cache_blocks(slot, (position + 1) / block);
        }
        let sequence = &self.sequences[slot as usize];
        let (pass, epoch) = (self.pass, sequence.epoch);
        let end = u64::from(sequence.prompt_tokens + sequence.output_tokens) - 1;
        // The last token is generated by computing the one before it.
        let last_pass = pass + end - 1 - u64::from(position);
        if last_pass == pass {
            self.ending.push(slot);
        } else {
            let to_boundary = if (position + 1).is_multiple_of(block) {
                1
            } else {
                block - 1 - position % block
            };
            let next = (pass + u64::from(to_boundary)).min(last_pass);
            self.wheel.add(next, WakeUp { slot, epoch });
        }
        preempted
    }

    /// Gives unfinished prompts their next chunk. True when something was preempted.
    fn schedule_prefills(&mut self) -> bool {
        let mut preempted = false;
        let mut index = 0;
        while index < self.prefilling.len() {
            let slot = self.prefilling[index];
            let sequence = &self.sequences[slot as usize];
            let new = (sequence.known - sequence.computed).min(self.budget());
            let target = (sequence.computed + new).div_ceil(self.config.block_size);
            let missing = target.saturating_sub(sequence.holding.blocks());
            loop {
                let holding = &mut self.sequences[slot as usize].holding;
                if self.pool.allocate(holding, missing) {
                    break;
                }
                preempted = true;
                if self.preempt_last() == slot {
                    return true;
                }
            }
            self.schedule_chunk(slot, new);
            index += 1;
        }
        preempted
    }

    fn budget(&self) -> u32 {
        let used: u32 = self.chunks.iter().map(|(_, new)| *new).sum();
        self.config.max_num_batched_tokens.saturating_sub(self.decoding + used)
    }

    /// Notes a prompt chunk for this pass and caches the blocks that it fills.
    fn schedule_chunk(&mut self, slot: u32, new: u32) {
        if new == 0 {
            return;
        }
        let sequence = &self.sequences[slot as usize];
        let full = (sequence.computed + new).min(sequence.known) / self.config.block_size;
        // Blocks that are still being loaded in this pass are cached at its end.
        if sequence.loads_open == 0 {
            self.cache_blocks(slot, full);
        }
        self.chunks.push((slot, new));
    }

    /// Puts a sequence's blocks into the cache, up to its first `full` blocks.
    fn cache_blocks(&mut self, slot: u32, full: u32) {
        if !self.config.prefix_caching {
            return;
        }
        let sequence = &mut self.sequences[slot as usize];
        let cached = sequence.holding.cached_blocks();
        if full > cached {
            self.pool.cache(&mut sequence.holding, sequence.tokens.pieces(), full - cached);
            self.note_stored(slot, cached, full);
        }
    }

    /// Preempts the sequence that started last: its blocks are freed, it goes to the front of the
    /// queue and is recomputed. Returns its slot.
    fn preempt_last(&mut self) -> u32 {
        let slot = self.running.last().expect("who asks for blocks is running");
        self.counters.preemptions += 1;
        let sequence = &mut self.sequences[slot as usize];
        sequence.preemptions = sequence.preemptions.saturating_add(1);
        self.chunks.retain(|(chunk, _)| *chunk != slot);
        self.requeue(slot);
        slot
    }

    /// Takes a running sequence back to the front of the queue, with nothing computed.
    fn requeue(&mut self, slot: u32) {
        self.running.remove(slot);
        let sequence = &mut self.sequences[slot as usize];
        match sequence.phase {
            Phase::Decode => {
                sequence.settle_at(self.pass);
                self.context_tokens -= u64::from(sequence.known);
                self.decoding -= 1;
                self.ending.retain(|ending| *ending != slot);
            }
            Phase::Prefill => {
                self.prefilling.retain(|prefilling| *prefilling != slot);
            }
            phase => unreachable!("a running sequence is in {phase:?}"),
        }
        sequence.epoch = sequence.epoch.wrapping_add(1);
        sequence.phase = Phase::Waiting;
        sequence.computed = 0;
        sequence.remote = None;
        let holding = std::mem::take(&mut sequence.holding);
        self.pool.release(holding);
        self.waiting.push_front(slot);
        self.stirred = true;
    }

    // ---- waiting sequences ------------------------------------------------------------------

    fn schedule_waiting(&mut self) {
        let mut skipped: Vec<u32> = Vec::new();
        while self.budget() > 0 && self.running.len() < self.config.max_num_seqs {
            let from_resumed = !self.resumed.is_empty();
            let queue = if from_resumed { &mut self.resumed } else { &mut self.waiting };
            let Some(slot) = queue.pop_front() else { break };
            match self.admit(slot) {
                Admission::Admitted | Admission::Elsewhere => {}
                Admission::Skipped => skipped.push(slot),
                Admission::NoRoom => {
                    let queue = if from_resumed { &mut self.resumed } else { &mut self.waiting };
                    queue.push_front(slot);
                    break;
                }
            }
        }
        for slot in skipped.into_iter().rev() {
            self.waiting.push_front(slot);
        }
    }

    fn admit(&mut self, slot: u32) -> Admission {
        if self.sequences[slot as usize].holding.blocks() > 0 {
            // Its loads have ended, and it holds its blocks already.
            let admission = self.start_running(slot);
            if admission == Admission::Admitted {
                self.loading.retain(|loading| *loading != slot);
            }
            return admission;
        }
        let block = self.config.block_size;
        let sequence = &self.sequences[slot as usize];
        let known = sequence.known;
        let limit = if self.config.prefix_caching { (known - 1) / block } else { 0 };
        let hit = self.pool.lookup(sequence.tokens.pieces(), limit);
        let local = hit.blocks * block;
        let needed = known.div_ceil(block) - hit.blocks;
        if needed > self.room_for_waiting().saturating_sub(hit.free_blocks) {
            return Admission::NoRoom;
        }
        let segments = match self.external(slot, local) {
            Ok(segments) => segments,
            Err(elsewhere) => return elsewhere,
        };
        let external = self.external_tokens(&segments, local, known);
        self.count_admission(slot, local, external, &segments);
        let sequence = &mut self.sequences[slot as usize];
        let holding = self.pool.admit(sequence.tokens.pieces(), hit);
        sequence.holding = holding;
        sequence.computed = local + external;
        sequence.offered_chunks = 0;
        if external == 0 {
            return self.start_running(slot);
        }
        let blocks = (local + external).div_ceil(block) - hit.blocks;
        let taken = self.pool.allocate(&mut self.sequences[slot as usize].holding, blocks);
        assert!(taken, "the whole sequence was found to fit");
        self.start_load(slot, segments)
    }

    /// Blocks that a waiting sequence may take.
    fn room_for_waiting(&self) -> u32 {
        let watermark = if self.running.len() == 0 {
            0
        } else {
            (self.config.watermark * f64::from(self.config.blocks)) as u32
        };
        // What admitted sequences have yet to take for their known tokens is spoken for: without
        // this, loaded sequences could block each other for ever.
        let owed: u32 = self
            .prefilling
            .iter()
            .chain(&self.loading)
            .map(|slot| {
                let sequence = &self.sequences[*slot as usize];
                sequence.known.div_ceil(self.config.block_size) - sequence.holding.blocks()
            })
            .sum();
        self.pool.free_blocks().saturating_sub(watermark + owed)
    }

    /// Asks the offload mechanism what it can add to the GPU's own hit.
    fn external(&mut self, slot: u32, local: u32) -> Result<Vec<Segment>, Admission> {
        let Some(offload) = &mut self.offload else { return Ok(Vec::new()) };
        let sequence = &mut self.sequences[slot as usize];
        let pieces = sequence.tokens.pieces();
        match offload.query(pieces, local, sequence.known, sequence.remote) {
            Answer::Found(segments) => Ok(segments),
            Answer::Pending => Err(Admission::Skipped),
            Answer::AskRemote { from, to } => {
                sequence.phase = Phase::LookingUp;
                let tokens = sequence.tokens.clone();
                let (slot, from_chunk, to_chunk) = (Slot(slot), from, to);
                self.lookups.push(Lookup { slot, tokens, from_chunk, to_chunk });
                Err(Admission::Elsewhere)
            }
        }
    }

    /// Tokens that the segments add to the GPU's hit; at least one token is always computed.
    fn external_tokens(&self, segments: &[Segment], local: u32, known: u32) -> u32 {
        let Some(offload) = &self.offload else { return 0 };
        let end = segments.last().map_or(0, |last| last.to * offload.config().chunk_tokens);
        end.min(known - 1).saturating_sub(local)
    }

    fn count_admission(&mut self, slot: u32, local: u32, external: u32, segments: &[Segment]) {
        let has_offload = self.offload.is_some();
        let chunk = self.offload.as_ref().map_or(1, |offload| offload.config().chunk_tokens);
        let sequence = &mut self.sequences[slot as usize];
        if sequence.admitted {
            return;
        }
        sequence.admitted = true;
        sequence.cached[TierKind::Gpu.index()] = local;
        let mut at = local;
        for segment in segments {
            let to = (segment.to * chunk).min(local + external);
            sequence.cached[segment.tier.index()] += to.saturating_sub(at);
            at = at.max(to);
        }
        self.counters.prompt_tokens += u64::from(sequence.prompt_tokens);
        self.counters.gpu_hit_tokens += u64::from(local);
        if has_offload {
            self.counters.external_query_tokens += u64::from(sequence.known - local);
        }
        for tier in TierKind::ALL {
            self.counters.tier_hit_tokens[tier.index()] +=
                u64::from(sequence.cached[tier.index()]);
        }
    }

    /// Starts the loads of a sequence that was just admitted.
    fn start_load(&mut self, slot: u32, segments: Vec<Segment>) -> Admission {
        let offload = self.offload.as_mut().expect("segments come from the offload mechanism");
        let mode = offload.config().load;
        let sequence = &mut self.sequences[slot as usize];
        let transfers = offload.load(slot, &sequence.tokens, &segments);
        sequence.loads_open = transfers.len() as u32;
        sequence.load_failed = false;
        sequence.offered_chunks = 0;
        sequence.loading = segments;
        self.counters.loaded_bytes += transfers.iter().map(|load| load.bytes.0).sum::<u64>();
        self.transfers.extend(transfers);
        match mode {
            LoadMode::Async => {
                sequence.phase = Phase::Loading;
                self.loading.push(slot);
                Admission::Elsewhere
            }
            LoadMode::InPass => self.start_running(slot),
        }
    }

    /// All loads of a sequence have ended: it is next in line.
    fn finish_load(&mut self, slot: u32) {
        let block = self.config.block_size;
        let failed = {
            let sequence = &mut self.sequences[slot as usize];
            sequence.phase = Phase::Waiting;
            sequence.load_failed
        };
        if failed {
            // What did not come is computed: only the GPU's own hit counts.
            let sequence = &mut self.sequences[slot as usize];
            sequence.computed = sequence.holding.cached_blocks() * block;
        } else {
            let full = self.sequences[slot as usize].computed / block;
            self.cache_blocks(slot, full);
        }
        self.resumed.push_back(slot);
    }

    /// Gives an admitted sequence its first chunk.
    fn start_running(&mut self, slot: u32) -> Admission {
        let block = self.config.block_size;
        let budget = self.budget();
        let sequence = &mut self.sequences[slot as usize];
        let new = (sequence.known - sequence.computed).min(budget);
        let target = (sequence.computed + new).div_ceil(block);
        let missing = target.saturating_sub(sequence.holding.blocks());
        if !self.pool.allocate(&mut sequence.holding, missing) {
            return Admission::NoRoom;
        }
        sequence.phase = Phase::Prefill;
        sequence.order = self.running.push(slot);
        self.prefilling.push(slot);
        self.schedule_chunk(slot, new);
        Admission::Admitted
    }

    // ---- the end of a pass ------------------------------------------------------------------

    fn complete_prefills(&mut self, effects: &mut Effects) {
        let chunks = std::mem::take(&mut self.chunks);
        for (slot, new) in &chunks {
            let sequence = &mut self.sequences[*slot as usize];
            assert_eq!(sequence.loads_open, 0, "a pass ends after the loads that it waits for");
            if std::mem::take(&mut sequence.load_failed) {
                self.requeue(*slot);
                continue;
            }
            sequence.computed += new;
            let whole = sequence.computed == sequence.known;
            let full = sequence.computed.min(sequence.known) / self.config.block_size;
            self.cache_blocks(*slot, full);
            self.offer_chunks(*slot);
            if whole {
                self.prefilling.retain(|prefilling| prefilling != slot);
                self.end_prefill(*slot, effects);
            }
        }
        self.chunks = chunks;
    }

    /// A sequence has all its known tokens computed, hence one more token.
    fn end_prefill(&mut self, slot: u32, effects: &mut Effects) {
        let pass = self.pass;
        let sequence = &mut self.sequences[slot as usize];
        sequence.known += 1;
        if sequence.first_step.is_none() {
            sequence.first_step = Some(pass);
            effects.first_tokens.push(Slot(slot));
        } else {
            effects.decoding += 1;
        }
        if sequence.generated() == sequence.output_tokens {
            self.finish(slot, effects);
            return;
        }
        sequence.phase = Phase::Decode;
        sequence.decode_base = pass;
        self.context_tokens += u64::from(sequence.known);
        self.decoding += 1;
        let wake_up = WakeUp { slot, epoch: sequence.epoch };
        self.wheel.add(pass + 1, wake_up);
    }

    fn finish(&mut self, slot: u32, effects: &mut Effects) {
        self.running.remove(slot);
        self.offer_chunks(slot);
        let sequence = &mut self.sequences[slot as usize];
        sequence.epoch = sequence.epoch.wrapping_add(1);
        sequence.phase = Phase::Done;
        let holding = std::mem::take(&mut sequence.holding);
        effects.finished.push(Finished {
            slot: Slot(slot),
            request: sequence.request,
            cached: sequence.cached.map(Tokens),
            preemptions: sequence.preemptions,
            first_step: sequence.first_step.unwrap_or(self.pass),
            output_tokens: Tokens(sequence.output_tokens),
        });
        self.pool.release(holding);
        self.vacant.push(slot);
        self.unfinished -= 1;
        self.stirred |= self.unfinished > 0;
    }

    /// Offers newly computed whole chunks to the offload mechanism.
    fn offer_chunks(&mut self, slot: u32) {
        let Some(offload) = &mut self.offload else { return };
        let sequence = &mut self.sequences[slot as usize];
        let end = if offload.config().prompt_only {
            sequence.computed.min(sequence.prompt_tokens)
        } else {
            sequence.computed
        };
        let to = end / offload.config().chunk_tokens;
        let from = sequence.offered_chunks;
        if to <= from {
            return;
        }
        sequence.offered_chunks = to;
        let stores = offload.store(slot, &sequence.tokens, from, to);
        // The bytes leave the GPU once, however many tiers they go to.
        if let Some(first) = stores.iter().find(|store| store.kind == TransferKind::Store) {
            self.counters.stored_bytes += first.bytes.0;
        }
        self.counters.refused_chunks = offload.refused_chunks();
        self.transfers.extend(stores);
    }

    /// Fills in what the timing model may look at.
    fn describe_pass(&mut self) {
        let shape = &mut self.shape;
        shape.prefill.clear();
        for (slot, new) in &self.chunks {
            let sequence = &self.sequences[*slot as usize];
            let (new_tokens, context_tokens) = (*new, sequence.computed);
            shape.prefill.push(PrefillChunk { new_tokens, context_tokens });
        }
        shape.decoding = self.decoding;
        shape.context_tokens = self.context_tokens;
        let unique = u64::from(self.pool.used_blocks()) * u64::from(self.config.block_size);
        shape.unique_context_tokens = unique.min(self.context_tokens);
        let running = self.running.len();
        shape.shared_prefix_tokens = match self.running.first() {
            Some(first) if running > 1 => {
                let holding: &Holding = &self.sequences[first as usize].holding;
                self.pool.common_blocks(holding, running) * self.config.block_size
            }
            _ => 0,
        };
    }
}

/// What became of a waiting sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    /// It runs.
    Admitted,
    /// It waits for a lookup or a load, outside the queue.
    Elsewhere,
    /// It cannot be decided yet; others may go on.
    Skipped,
    /// It does not fit; nobody behind it may overtake.
    NoRoom,
}
