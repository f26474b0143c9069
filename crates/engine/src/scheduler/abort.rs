//! Requests that are given up, and the cache that is emptied: vLLM's rules.
//!
//! vLLM takes an aborted request out of its queues and frees its blocks at once, also while a pass
//! computes it: what the pass gives for it is dropped, and its blocks cannot be taken before the
//! next pass is planned. Blocks that a transfer still writes to are freed when it has ended.

use weir_model::{KvChange, KvEvent, TierKind};

use super::Engine;
use crate::effects::Slot;
use crate::sequence::Phase;

/// Requests hold blocks, so the cache was not emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("requests hold {used_blocks} blocks; the cache can be emptied once they have ended")]
pub struct Busy {
    pub used_blocks: u32,
}

impl Engine {
    /// Gives a request up, wherever it stands; nothing more is told of it. Its slot is used again
    /// once nothing that was handed out can name it any more. A slot without a request is left
    /// alone.
    pub fn abort(&mut self, slot: Slot) {
        let slot = slot.0;
        let Some(sequence) = self.sequences.get(slot as usize) else { return };
        let asking = sequence.phase == Phase::LookingUp;
        match sequence.phase {
            Phase::Settling | Phase::Done => return,
            Phase::Waiting | Phase::LookingUp => {
                self.waiting.retain(|waiting| *waiting != slot);
                self.resumed.retain(|resumed| *resumed != slot);
                self.loading.retain(|loading| *loading != slot);
            }
            Phase::Loading => self.loading.retain(|loading| *loading != slot),
            Phase::Prefill => {
                self.prefilling.retain(|prefilling| *prefilling != slot);
                self.chunks.retain(|(chunk, _)| *chunk != slot);
                self.running.remove(slot);
            }
            Phase::Decode => self.abort_decode(slot),
        }
        self.started.retain(|started| *started != slot);
        self.release_tiers(slot);
        self.unfinished -= 1;
        self.stirred |= self.unfinished > 0;
        let sequence = &mut self.sequences[slot as usize];
        sequence.epoch = sequence.epoch.wrapping_add(1);
        sequence.phase = Phase::Settling;
        if !asking && sequence.loads_open == 0 {
            self.vacate(slot);
        }
    }

    fn abort_decode(&mut self, slot: u32) {
        // The pass under way gives it nothing.
        let next_pass = if self.in_pass { self.pass } else { self.pass + 1 };
        let sequence = &mut self.sequences[slot as usize];
        sequence.settle_at(next_pass);
        self.context_tokens -= u64::from(sequence.known);
        self.decoding -= 1;
        self.ending.retain(|ending| *ending != slot);
        self.running.remove(slot);
        // As at its end: what it generated was computed, and can be stored.
        self.offer_chunks(slot);
    }

    /// Frees what an aborted request held, and its slot.
    pub(super) fn vacate(&mut self, slot: u32) {
        let sequence = &mut self.sequences[slot as usize];
        sequence.phase = Phase::Done;
        let holding = std::mem::take(&mut sequence.holding);
        self.pool.release(holding);
        self.vacant.push(slot);
        self.stirred |= self.unfinished > 0;
    }

    /// Empties the GPU's cache, as vLLM's `reset_prefix_cache` does: only while no request holds
    /// blocks. Tiers keep what they have.
    pub fn reset(&mut self) -> Result<(), Busy> {
        if !self.pool.reset() {
            return Err(Busy { used_blocks: self.pool.used_blocks() });
        }
        // What was stored and removed so far is gone with the rest.
        self.pool.take_evictions();
        if let Some(events) = &mut self.events {
            events.clear();
            events.push(KvEvent {
                change: KvChange::Cleared,
                tier: TierKind::Gpu,
                path: [].into(),
                from_token: 0,
                to_token: 0,
            });
        }
        Ok(())
    }

    /// True when nothing is on its way to or from the tiers.
    pub fn tiers_rest(&self) -> bool {
        self.offload.as_ref().is_none_or(|offload| offload.open_transfers() == 0)
    }

    /// Empties the tiers of its own, as vLLM's `reset_external` asks its connector to. Only while
    /// nothing is on its way to or from them.
    pub fn reset_tiers(&mut self) {
        if let Some(offload) = &mut self.offload {
            offload.reset();
        }
    }
}
