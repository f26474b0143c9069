//! LMCache's server (`lmcache server` with vLLM's `LMCacheMPConnector`), as of 0.5.6: its level 1
//! is the nearest tier, its level 2 a disk or the remote store.
//!
//! - A lookup starts at the first token, whatever the GPU has, and ends at the first chunk that
//!   neither level has. A hit shorter than the GPU's counts as none.
//! - Level 2's chunks pass through level 1, also those that the GPU has, and are released after the
//!   load. Without space for all, only level 1's leading chunks are found.
//! - A prompt's chunks after the hit are offered once, pass by pass. Those that level 1 lacks are
//!   stored together or, without space, not at all, and go on to level 2.
//! - No store evicts. Once a second, if level 1 is four fifths full, a fifth is evicted.

use weir_model::{Nanos, Piece, Prompt, TierKind};
use weir_tier::chunk_cache::Fit;

use super::{Offload, Segment, Segments, TierAnswer, TierQuery};
use crate::effects::{Transfer, TransferKind};

/// Usage check of level 1 (`EvictionController.eviction_loop`).
pub(super) const ROUND: Nanos = Nanos::from_millis(1000);
/// `--eviction-trigger-watermark`.
const WATERMARK: f64 = 0.8;
/// Share of chunks evicted (`--eviction-ratio`).
const RATIO: f64 = 0.2;

impl Offload {
    /// Runs periodic tasks due by `now`.
    pub(super) fn run_rounds(&mut self, now: Nanos) {
        while self.next_round <= now {
            self.next_round += ROUND;
            let Some(level1) = self.tiers.first_mut() else { return };
            let capacity = self.config.tiers[0].capacity.0.max(1) as f64;
            let used = f64::from(level1.cache.used()) * self.chunk_bytes.0 as f64;
            if used / capacity < WATERMARK {
                continue;
            }
            let chunks = (f64::from(level1.cache.used()) * RATIO) as u32;
            level1.cache.evict_oldest(chunks.max(1));
        }
    }

    pub(super) fn query_server(&mut self, of: TierQuery<'_>) -> TierAnswer {
        let TierQuery { slot, tokens, local, known, remote } = of;
        let chunk = self.config.chunk_tokens;
        let limit = known / chunk;
        if self.config.store.is_some() && remote.is_none() && limit > 0 {
            return TierAnswer::AskRemote { from: 0, to: limit };
        }
        let mut segments = self.scan_levels(tokens, limit, remote.map_or(0, |(_, found)| found));
        let level1 = self.tiers[0].kind;
        let far = |segment: &&Segment| segment.tier != level1;
        let needed: u32 = segments.iter().filter(far).map(|it| it.to - it.from).sum();
        let cache = &mut self.tiers[0].cache;
        if needed > cache.capacity() - cache.used() {
            let near = segments.iter().take_while(|segment| segment.tier == level1).count();
            segments.truncate(near);
        }
        let hit = segments.last().map_or(0, |last| last.to);
        cache.touch(tokens, 0, hit, &[]);
        self.count_found(&segments);
        let used = self.used_by(slot);
        used.offer(hit);
        used.extend(0, limit);
        if (hit * chunk).min(known - 1) <= local {
            return TierAnswer::Found(Vec::new());
        }
        let skip = local / chunk;
        let behind = segments.iter().filter(|segment| segment.to > skip);
        let segments: Vec<Segment> =
            behind.map(|it| Segment { from: it.from.max(skip), ..*it }).collect();
        for segment in segments.iter().filter(far) {
            let cache = &mut self.tiers[0].cache;
            let reserved = cache.reserve(tokens, segment.from, segment.to, Fit::Free);
            debug_assert_eq!(reserved.refused, 0, "there is room for all");
        }
        TierAnswer::Found(segments)
    }

    /// Serving levels from the first chunk on. The store has `remote` chunks.
    fn scan_levels(&self, tokens: &[Piece], limit: u32, remote: u32) -> Segments {
        let mut segments = Segments::new();
        let [level1, level2 @ ..] = self.tiers.as_slice() else { return segments };
        let mut at = 0;
        while at < limit {
            let near = level1.cache.lookup(tokens, at, limit).chunks;
            let (tier, chunks) = if near > 0 {
                (level1.kind, near)
            } else {
                let end = at + level1.cache.gap(tokens, at, limit);
                let disk =
                    level2.first().map(|it| (it.kind, it.cache.lookup(tokens, at, end).chunks));
                disk.unwrap_or((TierKind::Remote, remote.min(end).saturating_sub(at)))
            };
            if chunks == 0 {
                break;
            }
            segments.push(Segment { tier, from: at, to: at + chunks });
            at += chunks;
        }
        segments
    }

    /// The server counts only the leading chunks of level 1 as its own.
    fn count_found(&mut self, segments: &Segments) {
        let chunk = u64::from(self.config.chunk_tokens);
        let hit = segments.last().map_or(0, |last| u64::from(last.to)) * chunk;
        let Some(first) = segments.first() else { return };
        let near = first.tier == self.tiers[0].kind;
        let near = if near { u64::from(first.to) * chunk } else { 0 };
        self.found[self.tiers[0].kind.index()] += near;
        let level2 = self.tiers.get(1).map_or(TierKind::Remote, |tier| tier.kind);
        self.found[level2.index()] += hit - near;
    }

    pub(super) fn store_in_server(
        &mut self,
        slot: u32,
        tokens: &Prompt,
        from: u32,
        to: u32,
    ) -> Vec<Transfer> {
        let mut transfers = Vec::new();
        let cache = &mut self.tiers[0].cache;
        let reserved = cache.reserve(tokens.pieces(), from, to, Fit::Free);
        self.refused += u64::from(reserved.refused);
        for span in reserved.spans {
            // Of chunks stored together, the last is the oldest.
            self.tiers[0].cache.touch(tokens.pieces(), span.from, span.to, &[span]);
            self.start_stores(0, &[span], tokens, slot, &mut transfers);
            if self.tiers.len() > 1 {
                let cache = &mut self.tiers[1].cache;
                let level2 = cache.reserve(tokens.pieces(), span.from, span.to, Fit::Front);
                self.refused += u64::from(level2.refused);
                self.start_stores(1, &level2.spans, tokens, slot, &mut transfers);
            }
            if self.config.store.is_some() {
                let segment = Segment { tier: TierKind::Remote, from: span.from, to: span.to };
                transfers.push(self.start(TransferKind::Store, segment, tokens, slot));
            }
        }
        transfers
    }
}
