//! What a request uses of the tiers, and what becomes recent when it ends.

use weir_model::Piece;
use weir_tier::chunk_cache::Span;

use super::Offload;
use crate::config::Mechanism;

/// Chunks that a request loaded or offered, and those that it put into local tiers itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Used {
    span: Option<Span>,
    /// By index of the tier.
    stored: Vec<(usize, Span)>,
}

impl Used {
    /// The request uses these chunks too: a request's are consecutive.
    pub(super) fn extend(&mut self, from: u32, to: u32) {
        let span = self.span.get_or_insert(Span { from, to });
        *span = Span { from: span.from.min(from), to: span.to.max(to) };
    }

    /// The request stores a span in a local tier.
    pub(super) fn stored(&mut self, tier: usize, span: Span) {
        self.stored.push((tier, span));
    }

    /// The request brought spans into the nearest tier.
    pub(super) fn promoted(&mut self, spans: &[Span]) {
        self.stored.extend(spans.iter().map(|span| (0, *span)));
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

    /// The request in `slot`, finished or given up, uses nothing any more. With vLLM's offloading
    /// what it used is recent now; LMCache counts uses when they happen.
    pub fn finished(&mut self, slot: u32, tokens: &[Piece]) {
        let used = std::mem::take(self.used_by(slot));
        let Some(Span { from, to }) = used.span else { return };
        if self.config.mechanism != Mechanism::Native {
            return;
        }
        for (index, tier) in self.tiers.iter_mut().enumerate() {
            let own = used.stored.iter().filter(|(tier, _)| *tier == index);
            let own: Vec<Span> = own.map(|(_, span)| *span).collect();
            tier.cache.touch(tokens, from, to, &own);
        }
    }
}
