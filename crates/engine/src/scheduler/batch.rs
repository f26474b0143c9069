//! Running sequences of a pass: tokens, blocks, preemption.

use super::Engine;
use crate::running::WakeUp;
use crate::sequence::Phase;

impl Engine {
    /// Allocates blocks for decoding sequences. True on preemption.
    pub(super) fn schedule_decodes(&mut self) -> bool {
        let mut awake = std::mem::take(&mut self.awake);
        self.wheel.take(self.pass, &mut awake);
        if (awake.len() as u64) > u64::from(self.pool.free_blocks()) {
            // The order decides preemption, which happens only if blocks are short.
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

    /// Allocates for this pass and sets the next wake-up. True on preemption.
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
        // The last token results from computing the one before it.
        let last_pass = pass + end - 1 - u64::from(position);
        if last_pass == pass {
            self.ending.push(slot);
        } else {
            let to_boundary =
                if (position + 1).is_multiple_of(block) { 1 } else { block - 1 - position % block };
            let next = (pass + u64::from(to_boundary)).min(last_pass);
            self.wheel.add(next, WakeUp { slot, epoch });
        }
        preempted
    }

    /// Schedules the next chunk of unfinished prompts. True on preemption.
    pub(super) fn schedule_prefills(&mut self) -> bool {
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

    pub(super) fn budget(&self) -> u32 {
        let used: u32 = self.chunks.iter().map(|(_, new)| *new).sum();
        self.config.max_num_batched_tokens.saturating_sub(self.decoding + used)
    }

    /// Adds a prompt chunk to this pass and caches the blocks it fills.
    pub(super) fn schedule_chunk(&mut self, slot: u32, new: u32) {
        if new == 0 {
            return;
        }
        let sequence = &self.sequences[slot as usize];
        let full = (sequence.computed + new).min(sequence.known) / self.config.block_size;
        // Blocks still loading in this pass are cached at its end.
        if sequence.loads_open == 0 {
            self.cache_blocks(slot, full);
        }
        self.chunks.push((slot, new));
    }

    /// Caches a sequence's first `full` blocks.
    pub(super) fn cache_blocks(&mut self, slot: u32, full: u32) {
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

    /// The last started sequence loses its blocks and goes to the front of the queue. Returns its
    /// slot.
    fn preempt_last(&mut self) -> u32 {
        let slot = self.running.last().expect("who asks for blocks is running");
        self.counters.preemptions += 1;
        let sequence = &mut self.sequences[slot as usize];
        sequence.preemptions = sequence.preemptions.saturating_add(1);
        self.chunks.retain(|(chunk, _)| *chunk != slot);
        self.requeue(slot);
        slot
    }

    /// Nothing of it counts as computed.
    pub(super) fn requeue(&mut self, slot: u32) {
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
        self.may_admit = true;
    }
}
