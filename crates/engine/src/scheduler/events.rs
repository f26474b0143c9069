use weir_model::{KvChange, KvEvent, Prompt, TierKind};

use super::Engine;

impl Engine {
    /// Blocks `from..to` can be hit from now on.
    pub(super) fn note_stored(&mut self, slot: u32, from: u32, to: u32) {
        self.note_removed();
        let Some(events) = &mut self.events else { return };
        let block = self.pool.block_tokens();
        let sequence = &self.sequences[slot as usize];
        events.push(KvEvent {
            change: KvChange::Stored,
            tier: TierKind::Gpu,
            path: sequence.tokens.clone(),
            from_token: from * block,
            to_token: to * block,
        });
    }

    /// Evictions precede later events.
    fn note_removed(&mut self) {
        let Some(events) = &mut self.events else { return };
        let block = self.pool.block_tokens();
        events.extend(self.pool.take_evictions().map(|gone| KvEvent {
            change: KvChange::Removed,
            tier: TierKind::Gpu,
            path: gone.path,
            from_token: gone.from_block * block,
            to_token: gone.to_block * block,
        }));
    }

    /// Since the last call: those of the GPU's cache in order, then those of the tiers in order.
    pub fn take_events(&mut self, into: &mut Vec<KvEvent>) {
        self.note_removed();
        let Some(events) = &mut self.events else { return };
        if into.is_empty() {
            // Hands capacity over, both ways.
            std::mem::swap(events, into);
        } else {
            into.append(events);
        }
        if let Some(offload) = &mut self.offload {
            offload.take_events(into);
        }
    }

    /// Leading tokens of a prompt that lie here as far as KV events say: in the GPU's cache, and
    /// behind it in the tiers that the mechanism announces. One token is always computed.
    pub fn announced_tokens(&self, prompt: &Prompt) -> u32 {
        let block = self.config.block_size;
        let blocks = (prompt.tokens().0.max(1) - 1) / block;
        let local = self.pool.lookup(prompt.pieces(), blocks).blocks * block;
        match &self.offload {
            Some(offload) => offload.announced_tokens(prompt.pieces(), local, blocks * block),
            None => local,
        }
    }
}
