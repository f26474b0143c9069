//! What a request uses of the tiers, and what becomes recent when it ends.

use weir_model::Piece;
use weir_model::mechanism::RecencyRule;
use weir_tier::chunk_cache::ChunkSpan;

use super::Offload;

/// What the mechanism knows of a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Used {
    /// Chunks up to here need not be offered any more.
    offered: u32,
    /// Chunks that become recent at its end.
    span: Option<ChunkSpan>,
    /// Those that it put into local tiers itself, by index of the tier.
    stored: Vec<(usize, ChunkSpan)>,
}

impl Used {
    pub(super) const fn offered(&self) -> u32 {
        self.offered
    }

    /// Chunks up to `to` were offered, or are not to be.
    pub(super) const fn offer(&mut self, to: u32) {
        self.offered = to;
    }

    /// The request uses these chunks too: a request's are consecutive.
    pub(super) fn extend(&mut self, from: u32, to: u32) {
        let span = self.span.get_or_insert(ChunkSpan { from, to });
        *span = ChunkSpan { from: span.from.min(from), to: span.to.max(to) };
    }

    /// The request loads these chunks: neither they nor what lies before them is offered.
    pub(super) fn load(&mut self, from: u32, to: u32) {
        self.extend(from, to);
        self.offered = to;
    }

    /// The request itself brings spans into a local tier.
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

    /// The request in `slot`, finished or given up, uses nothing any more. What it used is recent
    /// now, unless uses count when they happen.
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
