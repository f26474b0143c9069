//! Chunks that a request uses, which become recent at its end.

use weir_model::Piece;
use weir_model::mechanism::RecencyRule;
use weir_tier::chunk_cache::ChunkSpan;

use super::Offload;

#[derive(Debug, Clone, Default)]
pub(super) struct Used {
    /// Chunks before it are not offered again.
    offered: u32,
    /// Becomes recent at the request's end.
    span: Option<ChunkSpan>,
    /// What it stored in local tiers, by index of the tier.
    stored: Vec<(usize, ChunkSpan)>,
}

impl Used {
    pub(super) const fn offered(&self) -> u32 {
        self.offered
    }

    /// Marks chunks before `to` as offered.
    pub(super) const fn offer(&mut self, to: u32) {
        self.offered = to;
    }

    /// The chunks of a request are consecutive.
    pub(super) fn extend(&mut self, from: u32, to: u32) {
        let span = self.span.get_or_insert(ChunkSpan { from, to });
        *span = ChunkSpan { from: span.from.min(from), to: span.to.max(to) };
    }

    /// Neither these chunks nor earlier ones are offered.
    pub(super) fn load(&mut self, from: u32, to: u32) {
        self.extend(from, to);
        self.offered = to;
    }

    /// The request itself stores these spans.
    pub(super) fn stored(&mut self, tier: usize, spans: &[ChunkSpan]) {
        self.stored.extend(spans.iter().map(|span| (tier, *span)));
    }
}

impl Offload {
    pub(super) fn used_by(&mut self, slot: u32) -> &mut Used {
        let slot = slot as usize;
        if self.used.len() <= slot {
            self.used.resize_with(slot + 1, Used::default);
        }
        &mut self.used[slot]
    }

    /// The request finished or was aborted. Its chunks become recent, unless uses count at once.
    pub fn finished(&mut self, slot: u32, tokens: &[Piece]) {
        let used = std::mem::take(self.used_by(slot));
        let Some(ChunkSpan { from, to }) = used.span else { return };
        for (index, tier) in self.tiers.iter_mut().enumerate() {
            let own = used.stored.iter().filter(|(tier, _)| *tier == index);
            let own: Vec<ChunkSpan> = own.map(|(_, span)| *span).collect();
            match self.config.traits().recency {
                RecencyRule::AtUse => {}
                RecencyRule::AtEndButOwn => tier.cache.touch(tokens, from, to, &own),
                RecencyRule::AtEnd => tier.cache.touch(tokens, from, to, &[]),
            }
        }
    }
}
