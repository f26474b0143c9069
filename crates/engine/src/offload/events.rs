//! What subscribers hear of the tiers, and what left them.

use weir_model::{KvChange, KvEvent, Piece, Prompt, TierKind};
use weir_tier::chunk_cache::Eviction;

use super::Offload;

#[derive(Debug, Clone, Default)]
pub(super) struct TierLog {
    /// None: nobody hears them, or the mechanism announces nothing.
    events: Option<Vec<KvEvent>>,
    /// None: nobody moves bytes.
    evictions: Option<Vec<(TierKind, Eviction)>>,
}

impl Offload {
    /// Keeps KV events of the tiers that the mechanism announces, for
    /// [`Offload::take_events`].
    pub fn keep_events(&mut self) {
        let announced = self.config.traits();
        for tier in &mut self.tiers {
            let Some(events) = announced.events_of(tier.kind) else { continue };
            self.log.events.get_or_insert_default();
            if events.says_evictions {
                tier.cache.log_evictions();
            }
        }
    }

    /// Keeps evictions of local tiers for [`Offload::take_evictions`], for a caller that moves
    /// bytes.
    pub fn keep_evictions(&mut self) {
        self.log.evictions.get_or_insert_default();
        for tier in &mut self.tiers {
            tier.cache.log_evictions();
        }
    }

    /// In order, since the last call.
    pub fn take_events(&mut self, into: &mut Vec<KvEvent>) {
        self.note_evicted();
        if let Some(events) = &mut self.log.events {
            into.append(events);
        }
    }

    /// Evictions of local tiers since the last call.
    pub fn take_evictions(&mut self, into: &mut Vec<(TierKind, Eviction)>) {
        self.note_evicted();
        if let Some(evictions) = &mut self.log.evictions {
            into.append(evictions);
        }
    }

    /// The chunks can be read from now on.
    pub(super) fn note_stored(&mut self, tier: TierKind, tokens: &Prompt, from: u32, to: u32) {
        self.note_evicted();
        let is_announced = self.config.traits().events_of(tier).is_some();
        let Some(events) = self.log.events.as_mut().filter(|_| is_announced) else { return };
        let chunk = self.config.chunk_tokens;
        events.push(KvEvent {
            change: KvChange::Stored,
            tier,
            path: tokens.clone(),
            from_token: from * chunk,
            to_token: to * chunk,
        });
    }

    /// Evictions precede later events.
    fn note_evicted(&mut self) {
        let TierLog { events, evictions } = &mut self.log;
        if events.is_none() && evictions.is_none() {
            return;
        }
        let (announced, chunk) = (self.config.traits(), self.config.chunk_tokens);
        for tier in &mut self.tiers {
            let says = announced.events_of(tier.kind).is_some_and(|of| of.says_evictions);
            for gone in tier.cache.take_evictions() {
                if let Some(events) = events.as_mut().filter(|_| says) {
                    events.push(KvEvent {
                        change: KvChange::Removed,
                        tier: tier.kind,
                        path: Prompt::new(gone.path.iter().copied()),
                        from_token: gone.from_chunk * chunk,
                        to_token: gone.to_chunk * chunk,
                    });
                }
                if let Some(evictions) = evictions {
                    evictions.push((tier.kind, gone));
                }
            }
        }
    }

    /// vLLM says nothing of a tier that is emptied: that of the GPU's cache is for all.
    pub(super) fn note_cleared(&mut self) {
        self.note_evicted();
        if let Some(events) = &mut self.log.events {
            events.clear();
        }
    }

    /// Leading tokens of a sequence in the tiers that the mechanism announces, behind the `local`
    /// ones in the GPU's cache; at most `limit`.
    pub fn announced_tokens(&self, sequence: &[Piece], local: u32, limit: u32) -> u32 {
        let chunk = self.config.chunk_tokens;
        let mut held = local;
        loop {
            let before = held;
            for tier in &self.tiers {
                if self.config.traits().events_of(tier.kind).is_some() {
                    let from = held / chunk;
                    let chunks = tier.cache.lookup(sequence, from, limit / chunk).chunks;
                    held = held.max((from + chunks) * chunk);
                }
            }
            if held == before {
                return held;
            }
        }
    }
}
