use weir_model::{KvChange, KvEvent, TierKind};

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

    /// In order, since the last call.
    pub fn take_events(&mut self, into: &mut Vec<KvEvent>) {
        self.note_removed();
        if let Some(events) = &mut self.events {
            into.append(events);
        }
    }
}
