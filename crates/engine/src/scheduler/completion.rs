//! The end of a pass: tokens, finished sequences, chunks for the tiers; and the shape of the next.

use weir_model::Tokens;

use super::Engine;
use crate::effects::{Effects, Finished, Slot};
use crate::pool::Holding;
use crate::running::WakeUp;
use crate::sequence::Phase;
use crate::timing::PrefillChunk;

impl Engine {
    pub(super) fn complete_prefills(&mut self, effects: &mut Effects) {
        let chunks = std::mem::take(&mut self.chunks);
        for (slot, new) in &chunks {
            let sequence = &mut self.sequences[*slot as usize];
            assert_eq!(sequence.loads_open, 0, "a pass ends after the loads that it waits for");
            if std::mem::take(&mut sequence.load_failed) {
                let remote = sequence.remote;
                self.requeue(*slot);
                // A store that lost the chunks or failed is not asked again.
                let remote = remote.map(|(from, _)| (from, 0));
                self.sequences[*slot as usize].remote = remote;
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

    /// All known tokens are computed, so there is one more.
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

    pub(super) fn finish(&mut self, slot: u32, effects: &mut Effects) {
        self.running.remove(slot);
        self.offer_chunks(slot);
        self.release_tiers(slot);
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
        self.ended.push(slot);
        self.pool.release(holding);
        self.vacant.push(slot);
        self.unfinished -= 1;
        self.may_admit |= self.unfinished > 0;
    }

    /// Whole chunks only.
    pub(super) fn offer_chunks(&mut self, slot: u32) {
        let Some(offload) = &mut self.offload else { return };
        let sequence = &self.sequences[slot as usize];
        let end = if offload.config().prompt_only {
            sequence.computed.min(sequence.prompt_tokens)
        } else {
            sequence.computed
        };
        let to = end / offload.config().chunk_tokens;
        let stores = offload.store(slot, &sequence.tokens, to);
        self.counters.refused_chunks = offload.refused_chunks();
        if !self.external_io {
            // The bytes leave the GPU once, for all tiers.
            let nearest = stores.iter().filter(|store| Some(store.tier) == offload.nearest());
            self.counters.stored_bytes += nearest.map(|store| store.bytes.0).sum::<u64>();
        }
        self.transfers.extend(stores);
    }

    pub(super) fn release_tiers(&mut self, slot: u32) {
        if let Some(offload) = &mut self.offload {
            offload.finished(slot, self.sequences[slot as usize].tokens.pieces());
        }
    }

    /// Fills in the timing model's input.
    pub(super) fn describe_pass(&mut self) {
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
