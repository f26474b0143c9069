//! Aborted requests and the reset of the cache, by vLLM's rules.
//!
//! vLLM takes an aborted request out of its queues and frees its blocks at once, also while a pass
//! computes it: what the pass gives for it is dropped, and its blocks cannot be taken before the
//! next pass is planned. Blocks that a transfer still writes to are freed when it has ended.

use weir_model::{KvChange, KvEvent, TierKind};

use super::Engine;
use crate::effects::Slot;
use crate::sequence::Phase;

/// The cache was not emptied because requests hold blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("requests hold {used_blocks} blocks; the cache can be emptied once they have ended")]
pub struct BlocksInUse {
    pub used_blocks: u32,
}

impl Engine {
    /// Aborts a request in any phase. Its slot is reused once no transfer or lookup names it. A
    /// slot without a request is ignored.
    pub fn abort(&mut self, slot: Slot) {
        let slot = slot.0;
        let Some(sequence) = self.sequences.get(slot as usize) else { return };
        let asking = sequence.phase == Phase::LookingUp;
        match sequence.phase {
            Phase::Aborted | Phase::Done => return,
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
        self.may_admit |= self.unfinished > 0;
        let sequence = &mut self.sequences[slot as usize];
        sequence.epoch = sequence.epoch.wrapping_add(1);
        sequence.phase = Phase::Aborted;
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
        self.may_admit |= self.unfinished > 0;
    }

    /// Empties the GPU's cache, as vLLM's `reset_prefix_cache` does: only while no request holds
    /// blocks. Tiers keep what they have.
    pub fn reset(&mut self) -> Result<(), BlocksInUse> {
        if !self.pool.reset() {
            return Err(BlocksInUse { used_blocks: self.pool.used_blocks() });
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

    pub fn tiers_idle(&self) -> bool {
        self.offload.as_ref().is_none_or(|offload| offload.open_transfers() == 0)
    }

    /// Empties the local tiers, as vLLM's `reset_external` does. No transfer may be in flight.
    pub fn reset_tiers(&mut self) {
        if let Some(offload) = &mut self.offload {
            offload.reset();
        }
    }
}
