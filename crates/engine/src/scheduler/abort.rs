//! Aborted requests and the reset of the cache, by vLLM's rules.
//!
//! vLLM removes an aborted request and frees its blocks at once, even while a pass computes it. The
//! pass's result is dropped, and the blocks are reused from the next pass on. Blocks that a
//! transfer still writes to are freed at its end.

use weir_model::{KvChange, KvEvent, Prompt, TierKind};

use super::Engine;
use crate::effects::Slot;
use crate::sequence::Phase;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("requests hold {used_blocks} blocks; the cache can be emptied once they have ended")]
pub struct BlocksInUse {
    pub used_blocks: u32,
}

impl Engine {
    /// In any phase; ignored for a slot without a request. The slot is reused once no transfer or
    /// lookup names it.
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
        // The current pass gives it no token.
        let next_pass = if self.in_pass { self.pass } else { self.pass + 1 };
        let sequence = &mut self.sequences[slot as usize];
        sequence.settle_at(next_pass);
        self.context_tokens -= u64::from(sequence.known);
        self.decoding -= 1;
        self.ending.retain(|ending| *ending != slot);
        self.running.remove(slot);
        // As at its end: its generated tokens are computed and can be stored.
        self.offer_chunks(slot);
    }

    pub(super) fn vacate(&mut self, slot: u32) {
        let sequence = &mut self.sequences[slot as usize];
        sequence.phase = Phase::Done;
        let holding = std::mem::take(&mut sequence.holding);
        self.pool.release(holding);
        self.vacant.push(slot);
        self.may_admit |= self.unfinished > 0;
    }

    /// Empties the GPU's cache if no request holds blocks, as vLLM's `reset_prefix_cache` does.
    /// Tiers keep their chunks.
    pub fn reset(&mut self) -> Result<(), BlocksInUse> {
        if !self.pool.reset() {
            return Err(BlocksInUse { used_blocks: self.pool.used_blocks() });
        }
        // Earlier events are void after the reset.
        drop(self.pool.take_evictions());
        self.removed_at = None;
        if let Some(events) = &mut self.events {
            events.clear();
            events.push(KvEvent {
                change: KvChange::Cleared,
                tier: TierKind::Gpu,
                path: Prompt::new([]),
                from_token: 0,
                to_token: 0,
            });
        }
        Ok(())
    }

    pub fn tiers_idle(&self) -> bool {
        self.offload.as_ref().is_none_or(|offload| offload.open_transfers() == 0)
    }

    /// As vLLM's `reset_external`. No transfer may be in flight.
    pub fn reset_tiers(&mut self) {
        if let Some(offload) = &mut self.offload {
            offload.reset();
        }
    }
}
