use weir_model::{KvChange, KvEvent, Prompt, TierKind};

use super::Engine;

impl Engine {
    /// Blocks `from..to` can be hit from now on.
    pub(super) fn note_stored(&mut self, slot: u32, from: u32, to: u32) {
        self.note_removed();
        let Some(events) = &mut self.events else { return };
        let block = self.pool.block_tokens();
        let sequence = &self.sequences[slot as usize];
        let first = |path: &Prompt| path.pieces().first().map(|piece| piece.content);
        self.removed_at.take_if(|at| first(&events[*at].path) == first(&sequence.tokens));
        events.push(KvEvent {
            change: KvChange::Stored,
            tier: TierKind::Gpu,
            path: sequence.tokens.clone(),
            from_token: from * block,
            to_token: to * block,
        });
    }

    /// Evictions precede later events. A pool under pressure evicts a block for each that it
    /// stores; those of one sequence become one event, if only stores of sequences that begin
    /// otherwise lie between.
    fn note_removed(&mut self) {
        let Some(events) = &mut self.events else { return };
        let block = self.pool.block_tokens();
        for gone in self.pool.take_evictions() {
            let (from_token, to_token) = (gone.from_block * block, gone.to_block * block);
            if let Some(at) = self.removed_at
                && events[at].from_token == to_token
                && events[at].path.is_clone_of(&gone.path)
            {
                events[at].from_token = from_token;
                continue;
            }
            self.removed_at = Some(events.len());
            events.push(KvEvent {
                change: KvChange::Removed,
                tier: TierKind::Gpu,
                path: gone.path,
                from_token,
                to_token,
            });
        }
    }

    /// Since the last call: those of the GPU's cache in order, then those of the tiers in order.
    pub fn take_events(&mut self, into: &mut Vec<KvEvent>) {
        self.note_removed();
        self.removed_at = None;
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
