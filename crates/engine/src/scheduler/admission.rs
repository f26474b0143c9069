//! Admission of waiting sequences.

use weir_model::TierKind;

use super::Engine;
use crate::config::LoadMode;
use crate::effects::{Lookup, Slot};
use crate::offload::{Offload, Segment, TierAnswer, TierQuery};
use crate::pool::Hit;
use crate::sequence::{Hits, Phase};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    Admitted,
    /// In a lookup or a load, outside the queue.
    Elsewhere,
    /// Undecided; later sequences may be admitted.
    Skipped,
    /// Does not fit; no later sequence may be admitted.
    NoRoom,
    /// In a store lookup; no later sequence may be admitted.
    Unanswered,
}

/// Sequences at the front of the queue that are looked up early. Results arrive before the next
/// pass, as if the scheduler waited.
const ASKED_AHEAD: usize = 16;

impl Engine {
    pub(super) fn schedule_waiting(&mut self) {
        let mut skipped: Vec<u32> = Vec::new();
        while self.budget() > 0 && self.running.len() < self.config.max_num_seqs {
            let from_resumed = !self.resumed.is_empty();
            let queue = if from_resumed { &mut self.resumed } else { &mut self.waiting };
            let Some(slot) = queue.pop_front() else { break };
            match self.admit(slot) {
                Admission::Admitted | Admission::Elsewhere => {}
                Admission::Skipped => skipped.push(slot),
                Admission::NoRoom | Admission::Unanswered => {
                    let queue = if from_resumed { &mut self.resumed } else { &mut self.waiting };
                    queue.push_front(slot);
                    break;
                }
            }
        }
        for slot in skipped.into_iter().rev() {
            self.waiting.push_front(slot);
        }
        if self.offload.as_ref().is_some_and(Offload::keeps_order) {
            self.ask_ahead();
        }
    }

    fn ask_ahead(&mut self) {
        let queued = self.resumed.len() + self.waiting.len();
        for place in 0..queued.min(ASKED_AHEAD) {
            let behind = place.saturating_sub(self.resumed.len());
            let slot = self.resumed.get(place).or_else(|| self.waiting.get(behind));
            let Some(slot) = slot.copied() else { break };
            let sequence = &self.sequences[slot as usize];
            if sequence.phase == Phase::Waiting
                && sequence.holding.blocks() == 0
                && sequence.remote.is_none()
            {
                let local = self.gpu_hit(slot).blocks * self.config.block_size;
                self.ask_in_order(slot, local);
            }
        }
    }

    /// The sequence keeps its place. False: no lookup needed.
    fn ask_in_order(&mut self, slot: u32, local: u32) -> bool {
        let Some(offload) = &self.offload else { return false };
        let sequence = &mut self.sequences[slot as usize];
        let (tokens, known, remote) = (sequence.tokens.pieces(), sequence.known, sequence.remote);
        let query = TierQuery { slot, tokens, local, known, remote };
        let Some((from, to)) = offload.ordered_lookup(&query) else { return false };
        sequence.phase = Phase::LookingUp;
        let tokens = sequence.tokens.clone();
        self.lookups.push(Lookup { slot: Slot(slot), tokens, from_chunk: from, to_chunk: to });
        true
    }

    /// At least one token is always computed.
    fn gpu_hit(&self, slot: u32) -> Hit {
        let block = self.config.block_size;
        let sequence = &self.sequences[slot as usize];
        let limit = if self.config.prefix_caching { (sequence.known - 1) / block } else { 0 };
        self.pool.lookup(sequence.tokens.pieces(), limit)
    }

    fn admit(&mut self, slot: u32) -> Admission {
        if self.sequences[slot as usize].phase == Phase::LookingUp {
            return Admission::Unanswered;
        }
        if self.sequences[slot as usize].holding.blocks() > 0 {
            // Its loads have ended, and it already holds its blocks.
            let admission = self.start_running(slot);
            if admission == Admission::Admitted {
                self.loading.retain(|loading| *loading != slot);
            }
            return admission;
        }
        let block = self.config.block_size;
        let known = self.sequences[slot as usize].known;
        let hit = self.gpu_hit(slot);
        let local = hit.blocks * block;
        if self.ask_in_order(slot, local) {
            return Admission::Unanswered;
        }
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
        if external == 0 {
            return self.start_running(slot);
        }
        let blocks = (local + external).div_ceil(block) - hit.blocks;
        let taken = self.pool.allocate(&mut self.sequences[slot as usize].holding, blocks);
        assert!(taken, "the whole sequence was found to fit");
        self.start_load(slot, segments)
    }

    fn room_for_waiting(&self) -> u32 {
        let watermark = if self.running.len() == 0 {
            0
        } else {
            (self.config.watermark * f64::from(self.config.blocks)) as u32
        };
        // Blocks that admitted sequences need for their known tokens are reserved, because loaded
        // sequences could block each other for ever.
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

    /// What the offload mechanism adds to the GPU's hit.
    fn external(&mut self, slot: u32, local: u32) -> Result<Vec<Segment>, Admission> {
        let Some(offload) = &mut self.offload else { return Ok(Vec::new()) };
        let sequence = &mut self.sequences[slot as usize];
        let (tokens, known, remote) = (sequence.tokens.pieces(), sequence.known, sequence.remote);
        let answer = offload.query(TierQuery { slot, tokens, local, known, remote });
        self.counters.lookup_hit_tokens = offload.found_tokens();
        match answer {
            TierAnswer::Found(segments) => Ok(segments),
            TierAnswer::Pending => Err(Admission::Skipped),
            TierAnswer::AskRemote { from, to } => {
                sequence.phase = Phase::LookingUp;
                let tokens = sequence.tokens.clone();
                let (slot, from_chunk, to_chunk) = (Slot(slot), from, to);
                self.lookups.push(Lookup { slot, tokens, from_chunk, to_chunk });
                Err(Admission::Elsewhere)
            }
        }
    }

    /// Tokens added to the GPU's hit; at least one token is always computed.
    fn external_tokens(&self, segments: &[Segment], local: u32, known: u32) -> u32 {
        let Some(offload) = &self.offload else { return 0 };
        let end = segments.last().map_or(0, |last| last.to * offload.config().chunk_tokens);
        end.min(known - 1).saturating_sub(local)
    }

    fn count_admission(&mut self, slot: u32, local: u32, external: u32, segments: &[Segment]) {
        let has_offload = self.offload.is_some();
        let chunk = self.offload.as_ref().map_or(1, |offload| offload.config().chunk_tokens);
        let sequence = &mut self.sequences[slot as usize];
        if sequence.hits != Hits::Unknown {
            return;
        }
        sequence.hits = Hits::Decided;
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
        let tiers = if self.external_io { &TierKind::ALL[..1] } else { &TierKind::ALL[..] };
        for tier in tiers {
            self.counters.tier_hit_tokens[tier.index()] += u64::from(sequence.cached[tier.index()]);
        }
    }

    /// Counts the loads of a sequence once all have ended; failed ones never count.
    pub(super) fn count_loaded(&mut self, slot: u32) {
        let sequence = &mut self.sequences[slot as usize];
        let counted = std::mem::replace(&mut sequence.hits, Hits::Arrived) == Hits::Arrived;
        for tier in &TierKind::ALL[1..] {
            let tokens = &mut sequence.cached[tier.index()];
            if sequence.load_failed {
                *tokens = 0;
            } else if !counted {
                self.counters.tier_hit_tokens[tier.index()] += u64::from(*tokens);
            }
        }
    }

    fn start_load(&mut self, slot: u32, segments: Vec<Segment>) -> Admission {
        let offload = self.offload.as_mut().expect("segments come from the offload mechanism");
        let mode = offload.config().load;
        let sequence = &mut self.sequences[slot as usize];
        let transfers = offload.load(slot, &sequence.tokens, &segments);
        sequence.loads_open = transfers.len() as u32;
        sequence.load_failed = false;
        sequence.loading = segments;
        if !self.external_io {
            self.counters.loaded_bytes += transfers.iter().map(|load| load.bytes.0).sum::<u64>();
        }
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

    /// All loads have ended: the sequence is next.
    pub(super) fn finish_load(&mut self, slot: u32) {
        let block = self.config.block_size;
        let failed = {
            let sequence = &mut self.sequences[slot as usize];
            sequence.phase = Phase::Waiting;
            std::mem::take(&mut sequence.load_failed)
        };
        if failed {
            // Missing chunks are computed, so only the GPU's hit counts.
            let sequence = &mut self.sequences[slot as usize];
            sequence.computed = sequence.holding.cached_blocks() * block;
        } else {
            let full = self.sequences[slot as usize].computed / block;
            self.cache_blocks(slot, full);
        }
        // Before sequences without blocks, which may wait for its blocks.
        let holds = |slot: &u32| self.sequences[*slot as usize].holding.blocks() > 0;
        let place = self.resumed.iter().position(|resumed| !holds(resumed));
        self.resumed.insert(place.unwrap_or(self.resumed.len()), slot);
    }

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
        if !std::mem::replace(&mut sequence.has_run, true) {
            self.started.push(slot);
        }
        self.prefilling.push(slot);
        self.schedule_chunk(slot, new);
        Admission::Admitted
    }
}
