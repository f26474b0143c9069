//! Which chunks of a sequence a mechanism can serve.

use weir_model::mechanism::LookupRule;
use weir_model::{Nanos, Piece, TierKind};
use weir_tier::chunk_cache::{ChunkSpan, Fit, Spans};

use super::{Offload, Segment, Segments, TierAnswer, TierQuery};

impl Offload {
    /// Runs periodic tasks due by `now`.
    pub fn advance(&mut self, now: Nanos) {
        if self.config.traits().evicts_by_clock {
            self.run_rounds(now);
        }
    }

    /// Chunks to load after the GPU's hit. The caller must load them, as space may be reserved.
    pub fn query(&mut self, of: TierQuery<'_>) -> TierAnswer {
        match self.config.traits().lookup {
            LookupRule::BehindGpuPromoting => self.query_promoting(of),
            LookupRule::BehindGpu => self.query_tiers(of),
            LookupRule::FromFirstToken => self.query_server(of),
        }
    }

    /// True if a sequence keeps its place during a store lookup. vLLM's scheduler waits for LMCache
    /// in the engine (`get_num_new_matched_tokens` of `LMCacheConnectorV1`); the lookup of its
    /// server is asynchronous.
    pub fn keeps_order(&self) -> bool {
        self.config.traits().waits_for_store && self.config.store.is_some()
    }

    /// Chunks to look up in the store before the sequence's turn, if the order is kept.
    pub fn ordered_lookup(&self, of: &TierQuery<'_>) -> Option<(u32, u32)> {
        if !self.keeps_order() || of.remote.is_some() {
            return None;
        }
        let (_, at) = self.tier_segments(of);
        let limit = of.known / self.config.chunk_tokens;
        (at < limit).then_some((at, limit))
    }

    /// LMCache treats a chunk that is being written as a miss.
    fn query_tiers(&mut self, of: TierQuery<'_>) -> TierAnswer {
        let (segments, at) = self.tier_segments(&of);
        for tier in &mut self.tiers {
            tier.cache.touch(of.tokens, 0, at, &[]);
        }
        self.used_by(of.slot).offer(0);
        TierAnswer::Found(segments)
    }

    /// What LMCache in the engine serves with the store lookup so far, and up to which chunk.
    fn tier_segments(&self, of: &TierQuery<'_>) -> (Vec<Segment>, u32) {
        let TierQuery { tokens, local, known, remote, .. } = *of;
        let limit = known / self.config.chunk_tokens;
        let mut segments: Vec<Segment> = Vec::new();
        let mut at = local / self.config.chunk_tokens;
        loop {
            let before = at;
            for tier in &self.tiers {
                let found = tier.cache.lookup(tokens, at, limit).chunks;
                if found > 0 {
                    segments.push(Segment { tier: tier.kind, from: at, to: at + found });
                    at += found;
                }
            }
            if let Some((from, chunks)) = remote
                && (from..from + chunks).contains(&at)
            {
                let to = (from + chunks).min(limit);
                segments.push(Segment { tier: TierKind::Remote, from: at, to });
                at = to;
            }
            if at == before || at == limit {
                break;
            }
        }
        (segments, at)
    }

    /// vLLM's offloading repeats a lookup while a chunk is being stored, or loaded for another
    /// request. It ignores hits of less than a chunk beyond the GPU's. Its tiering reserves space
    /// in the nearest tier for farther chunks, one by one; chunks of the sequence that this evicts
    /// are loaded with the rest.
    fn query_promoting(&mut self, of: TierQuery<'_>) -> TierAnswer {
        let TierQuery { slot, tokens, local, known, .. } = of;
        let chunk = self.config.chunk_tokens;
        let limit = known / chunk;
        let from = local / chunk;
        let mut promoted = Spans::new();
        let Some(mut segments) = self.scan(tokens, from, limit, &promoted) else {
            return TierAnswer::Pending;
        };
        let is_worth_it = |segments: &Segments| {
            let end = segments.last().map_or(from, |last| last.to) * chunk;
            end.saturating_sub(local) >= chunk && local + 1 < known
        };
        if !is_worth_it(&segments) {
            return TierAnswer::Found(Vec::new());
        }
        if self.is_being_loaded(tokens, &segments) {
            return TierAnswer::Pending;
        }
        while self.promote(tokens, &segments, &mut promoted) {
            // Only chunks of this lookup can be pending now.
            segments = self.scan(tokens, from, limit, &promoted).unwrap_or_default();
        }
        // Without space in the nearest tier, neither these chunks nor later ones can be loaded.
        let nearest = self.tiers.first().map(|tier| tier.kind);
        let lost = segments.iter().position(|segment| {
            let is_promoted =
                promoted.iter().any(|span| span.from <= segment.from && segment.to <= span.to);
            Some(segment.tier) != nearest && !is_promoted
        });
        segments.truncate(lost.unwrap_or(segments.len()));
        if !is_worth_it(&segments) {
            segments.clear();
        }
        let end = segments.last().map_or(from, |last| last.to);
        for span in promoted.iter().filter(|span| span.from >= end) {
            self.tiers[0].cache.cancel(tokens, span.from, span.to);
        }
        promoted.retain(|span| span.from < end);
        self.used_by(slot).stored(0, &promoted);
        TierAnswer::Found(segments.into_vec())
    }

    fn is_being_loaded(&self, tokens: &[Piece], segments: &Segments) -> bool {
        segments.iter().any(|segment| {
            let tier = self.tiers.iter().find(|tier| tier.kind == segment.tier);
            tier.is_some_and(|tier| tier.cache.lookup(tokens, segment.from, segment.to).reading)
        })
    }

    /// Serving tiers from `from` to the first missing chunk. None if another lookup is bringing one
    /// of them in.
    fn scan(
        &self,
        tokens: &[Piece],
        from: u32,
        limit: u32,
        promoted: &[ChunkSpan],
    ) -> Option<Segments> {
        let mut segments = Segments::new();
        let mut at = from;
        while at < limit {
            let before = at;
            for (index, tier) in self.tiers.iter().enumerate() {
                let own = promoted.iter().find(|span| index > 0 && span.contains(at));
                let to = if let Some(span) = own {
                    span.to.min(limit)
                } else {
                    // A farther tier, as far as the nearest lacks the chunks.
                    let end = match index {
                        0 => limit,
                        _ => at + self.tiers[0].cache.gap(tokens, at, limit),
                    };
                    let found = tier.cache.lookup(tokens, at, end);
                    let is_own = promoted.iter().any(|span| span.contains(at + found.chunks));
                    if found.pending && !(index == 0 && is_own) {
                        return None;
                    }
                    at + found.chunks
                };
                if to > at {
                    segments.push(Segment { tier: tier.kind, from: at, to });
                    at = to;
                    // The nearest tier takes precedence.
                    break;
                }
            }
            if at == before {
                break;
            }
        }
        Some(segments)
    }

    /// Reserves room in the nearest tier for chunks of farther ones. True if any was.
    fn promote(&mut self, tokens: &[Piece], segments: &Segments, promoted: &mut Spans) -> bool {
        let [nearest, farther @ ..] = self.tiers.as_mut_slice() else { return false };
        let before = promoted.len();
        for segment in segments {
            let is_farther = farther.iter().any(|tier| tier.kind == segment.tier);
            let is_new = !promoted.iter().any(|span| span.contains(segment.from));
            if !is_farther || !is_new {
                continue;
            }
            let reserved = nearest.cache.reserve(tokens, segment.from, segment.to, Fit::Front);
            promoted.extend(reserved.spans);
            if reserved.refused > 0 {
                break;
            }
        }
        promoted.len() > before
    }
}
