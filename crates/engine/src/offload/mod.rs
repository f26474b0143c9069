//! Offload decisions: what is looked up, loaded and stored, for vLLM's `OffloadingConnector`
//! and for LMCache.
//!
//! Both keep chunks of whole blocks. A lookup continues after the GPU's hit through each local tier
//! and the remote store, until a chunk is missing. Every new prompt chunk is written at once to
//! every tier that lacks it. Chunks in transfer are pinned, and cannot be hit before they arrive.
//!
//! Chunks that a request loaded or offered become recent at its end (vLLM 0.32,
//! `OffloadingManager.on_request_finished`). `server.rs` has the rules of LMCache's server.

mod events;
mod lookup;
mod server;
mod used;

use smallvec::SmallVec;
use weir_model::mechanism::StoreRule;
use weir_model::{Bytes, Nanos, Piece, Prompt, TierKind};
use weir_tier::chunk_cache::{ChunkCache, ChunkSpan, Fit};

use self::events::TierLog;
use self::used::Used;

use crate::config::{LoadMode, OffloadConfig};
use crate::effects::{Transfer, TransferId, TransferKind};

/// Consecutive chunks that one tier serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub tier: TierKind,
    pub from: u32,
    pub to: u32,
}

/// Consecutive chunks by tier.
type Segments = SmallVec<[Segment; 4]>;

#[derive(Debug, Clone, Copy)]
pub struct TierQuery<'a> {
    pub slot: u32,
    /// Prompt and whole answer.
    pub tokens: &'a [Piece],
    /// Leading tokens that the GPU serves.
    pub local: u32,
    pub known: u32,
    /// Of an earlier remote lookup: first chunk, and number found.
    pub remote: Option<(u32, u32)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TierAnswer {
    /// In order, directly after the GPU's hit.
    Found(Vec<Segment>),
    /// A chunk is being stored; query again after a transfer.
    Pending,
    /// To be looked up in the remote store first.
    AskRemote { from: u32, to: u32 },
}

#[derive(Debug, Clone)]
struct LocalTier {
    kind: TierKind,
    cache: ChunkCache,
}

#[derive(Debug, Clone)]
struct OpenTransfer {
    transfer: TransferId,
    kind: TransferKind,
    tier: TierKind,
    tokens: Prompt,
    from: u32,
    to: u32,
    /// The sequence that waits for a load.
    slot: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedTransfer {
    pub kind: TransferKind,
    pub slot: u32,
    /// Over all ranks, from or to the GPU. Zero for a store that continued from the nearest tier.
    pub gpu_bytes: Bytes,
}

#[derive(Debug, Clone)]
pub struct Offload {
    config: OffloadConfig,
    tiers: Vec<LocalTier>,
    chunk_bytes: Bytes,
    open: Vec<Option<OpenTransfer>>,
    vacant: Vec<u32>,
    refused: u64,
    /// Chunks on their way to farther tiers, buffered in the nearest.
    behind: u32,
    /// By slot.
    used: Vec<Used>,
    /// Time of the next periodic task.
    next_round: Nanos,
    /// Tokens found by lookups, the GPU's included; indexed by tier.
    found: [u64; 4],
    log: TierLog,
}

impl Offload {
    pub fn new(config: OffloadConfig) -> Self {
        let chunk_bytes = Bytes(config.chunk_bytes.kept);
        let tiers = config
            .tiers
            .iter()
            .map(|tier| {
                let chunks = tier.capacity.0 / chunk_bytes.0.max(1);
                let chunks = u32::try_from(chunks).unwrap_or(u32::MAX);
                let cache = ChunkCache::new(chunks, config.chunk_tokens, tier.policy);
                LocalTier { kind: tier.kind, cache }
            })
            .collect();
        Self {
            config,
            tiers,
            chunk_bytes,
            open: Vec::new(),
            vacant: Vec::new(),
            refused: 0,
            behind: 0,
            used: Vec::new(),
            next_round: server::ROUND,
            found: [0; 4],
            log: TierLog::default(),
        }
    }

    pub const fn config(&self) -> &OffloadConfig {
        &self.config
    }

    /// Over all ranks.
    pub const fn chunk_bytes(&self) -> Bytes {
        self.chunk_bytes
    }

    /// The nearest local tier, else the store.
    pub fn nearest(&self) -> Option<TierKind> {
        let store = self.config.store.as_ref().map(|_| TierKind::Remote);
        self.tiers.first().map(|tier| tier.kind).or(store)
    }

    pub fn cache(&self, tier: TierKind) -> Option<&ChunkCache> {
        self.tiers.iter().find(|local| local.kind == tier).map(|local| &local.cache)
    }

    /// Chunks without room in local tiers.
    pub const fn refused_chunks(&self) -> u64 {
        self.refused
    }

    pub fn open_transfers(&self) -> usize {
        self.open.len() - self.vacant.len()
    }

    /// See [`crate::Counters::lookup_hit_tokens`].
    pub const fn found_tokens(&self) -> [u64; 4] {
        self.found
    }

    pub fn load(&mut self, slot: u32, tokens: &Prompt, segments: &[Segment]) -> Vec<Transfer> {
        let mut transfers = Vec::with_capacity(segments.len());
        for segment in segments {
            let Segment { tier, from, to } = *segment;
            if let Some(local) = self.tiers.iter_mut().find(|local| local.kind == tier) {
                local.cache.pin_read(tokens.pieces(), from, to);
            }
            if self.config.traits().offers_behind_loads {
                // The GPU's own chunks are offered again only if nothing was loaded after them.
                self.used_by(slot).load(from, to);
            }
            transfers.push(self.start(TransferKind::Load, *segment, tokens, slot));
        }
        transfers
    }

    /// Offers new chunks up to `to` to every tier that lacks them. Chunks that a local tier lacked
    /// also go to the remote store, which takes only those it lacks.
    ///
    /// A chunk stays in the nearest tier until a farther one has it, so that tier bounds the
    /// transfers in flight. The rest is dropped, as by LMCache without memory and by vLLM's tiering
    /// under back-pressure.
    pub fn store(&mut self, slot: u32, tokens: &Prompt, to: u32) -> Vec<Transfer> {
        let from = self.used_by(slot).offered();
        if to <= from {
            return Vec::new();
        }
        let stores = match self.config.traits().storing {
            StoreRule::WholeOffer => self.store_whole(slot, tokens, from, to),
            StoreRule::WhatFits => Some(self.store_what_fits(slot, tokens, from, to)),
            StoreRule::WholePass => Some(self.store_in_server(slot, tokens, from, to)),
        };
        if stores.is_some() {
            self.used_by(slot).offer(to);
        }
        stores.unwrap_or_default()
    }

    /// vLLM's offloading stores all chunks that the nearest tier lacks, or none; then they are
    /// offered again with later ones.
    fn store_whole(
        &mut self,
        slot: u32,
        tokens: &Prompt,
        from: u32,
        to: u32,
    ) -> Option<Vec<Transfer>> {
        let mut transfers = Vec::new();
        self.used_by(slot).extend(from, to);
        let nearest = self.tiers.first_mut()?;
        let reserved = nearest.cache.reserve(tokens.pieces(), from, to, Fit::Whole);
        if reserved.refused > 0 {
            self.refused += u64::from(reserved.refused);
            return None;
        }
        for span in reserved.spans {
            self.used_by(slot).stored(0, &[span]);
            self.start_stores(0, &[span], tokens, slot, &mut transfers);
            for index in 1..self.tiers.len() {
                let end = span.to.min(span.from.saturating_add(self.room_behind()));
                let cache = &mut self.tiers[index].cache;
                let farther = cache.reserve(tokens.pieces(), span.from, end, Fit::Front);
                self.refused += u64::from(farther.refused + (span.to - end));
                self.used_by(slot).stored(index, &farther.spans);
                self.start_stores(index, &farther.spans, tokens, slot, &mut transfers);
            }
        }
        Some(transfers)
    }

    fn store_what_fits(&mut self, slot: u32, tokens: &Prompt, from: u32, to: u32) -> Vec<Transfer> {
        let mut transfers = Vec::new();
        let mut lacking = if self.tiers.is_empty() { from } else { to };
        for index in 0..self.tiers.len() {
            let room = if index == 0 { u32::MAX } else { self.room_behind() };
            let end = to.min(from.saturating_add(room));
            let cache = &mut self.tiers[index].cache;
            let reserved = cache.reserve(tokens.pieces(), from, end, Fit::Front);
            cache.touch(tokens.pieces(), 0, end, &reserved.spans);
            self.refused += u64::from(reserved.refused + (to - end));
            let first = reserved.spans.first().map_or(end, |span| span.from);
            lacking = lacking.min(first).min(end - reserved.refused);
            self.start_stores(index, &reserved.spans, tokens, slot, &mut transfers);
        }
        if self.config.store.is_some() && lacking < to {
            let end = to.min(lacking.saturating_add(self.room_behind()));
            self.refused += u64::from(to - end);
            if lacking < end {
                let segment = Segment { tier: TierKind::Remote, from: lacking, to: end };
                transfers.push(self.start(TransferKind::Store, segment, tokens, slot));
            }
        }
        transfers
    }

    /// Spans for which a local tier has reserved room.
    fn start_stores(
        &mut self,
        index: usize,
        spans: &[ChunkSpan],
        tokens: &Prompt,
        slot: u32,
        transfers: &mut Vec<Transfer>,
    ) {
        let tier = self.tiers[index].kind;
        for span in spans {
            let segment = Segment { tier, from: span.from, to: span.to };
            transfers.push(self.start(TransferKind::Store, segment, tokens, slot));
        }
    }

    /// Chunks that may still go to farther tiers.
    fn room_behind(&self) -> u32 {
        match self.tiers.first() {
            Some(nearest) => nearest.cache.capacity().saturating_sub(self.behind),
            None => u32::MAX,
        }
    }

    /// Stores to such a tier wait in the nearest one.
    fn is_behind(&self, tier: TierKind) -> bool {
        self.tiers.first().is_some_and(|nearest| nearest.kind != tier)
    }

    /// None for an unknown transfer.
    pub fn done(&mut self, id: TransferId, arrived: bool) -> Option<EndedTransfer> {
        let job = self.open.get_mut(id.0 as usize).and_then(Option::take)?;
        self.vacant.push(id.0);
        debug_assert_eq!(job.transfer, id);
        if job.kind == TransferKind::Store && self.is_behind(job.tier) {
            self.behind -= job.to - job.from;
        }
        let local = self.tiers.iter_mut().find(|local| local.kind == job.tier);
        match (job.kind, local) {
            (TransferKind::Store, Some(local)) if arrived => {
                local.cache.commit(job.tokens.pieces(), job.from, job.to);
                self.note_stored(job.tier, &job.tokens, job.from, job.to);
            }
            (TransferKind::Store, Some(local)) => {
                local.cache.cancel(job.tokens.pieces(), job.from, job.to);
            }
            (TransferKind::Load, Some(local)) => {
                local.cache.unpin(job.tokens.pieces(), job.from, job.to);
                if !arrived {
                    // A repeated lookup would miss them again.
                    local.cache.forget(job.tokens.pieces(), job.from, job.to);
                }
                self.end_promotion(&job, arrived);
            }
            (TransferKind::Load, None) => {
                self.end_promotion(&job, arrived);
                self.keep_copy(&job, arrived);
            }
            (TransferKind::Store, None) => {}
        }
        let passes_on = job.kind == TransferKind::Store && self.is_behind(job.tier);
        let chunks = if passes_on { 0 } else { u64::from(job.to - job.from) };
        let gpu_bytes = self.moved(job.kind, chunks);
        Some(EndedTransfer { kind: job.kind, slot: job.slot, gpu_bytes })
    }

    fn moved(&self, kind: TransferKind, chunks: u64) -> Bytes {
        match kind {
            TransferKind::Store => Bytes(self.chunk_bytes.0 * chunks),
            TransferKind::Load => self.config.loaded(chunks * u64::from(self.config.chunk_tokens)),
        }
    }

    /// Loads from farther tiers pass through the nearest one, where the lookup reserved room; the
    /// mechanism decides whether they stay.
    fn end_promotion(&mut self, job: &OpenTransfer, arrived: bool) {
        let traits = self.config.traits();
        if !traits.loads_through_nearest || !self.is_behind(job.tier) {
            return;
        }
        let LocalTier { kind, cache } = &mut self.tiers[0];
        if arrived && traits.keeps_copies_of == Some(job.tier) {
            let kind = *kind;
            cache.commit(job.tokens.pieces(), job.from, job.to);
            self.note_stored(kind, &job.tokens, job.from, job.to);
        } else {
            cache.cancel(job.tokens.pieces(), job.from, job.to);
        }
    }

    /// Chunks read from the remote store past host memory may be kept there.
    fn keep_copy(&mut self, job: &OpenTransfer, arrived: bool) {
        if !arrived || self.config.traits().keeps_copies_of != Some(job.tier) {
            return;
        }
        if let Some(host) = self.tiers.first_mut() {
            let pieces = job.tokens.pieces();
            let reserved = host.cache.reserve(pieces, job.from, job.to, Fit::Front);
            for span in &reserved.spans {
                host.cache.commit(pieces, span.from, span.to);
            }
            host.cache.touch(pieces, 0, job.to, &reserved.spans);
        }
    }

    /// Empties the local tiers. No transfer may be in flight.
    pub fn reset(&mut self) {
        assert_eq!(self.open_transfers(), 0, "a reset waits for the transfers under way");
        for tier in &mut self.tiers {
            tier.cache.clear();
        }
        self.note_cleared();
    }

    fn start(
        &mut self,
        kind: TransferKind,
        segment: Segment,
        tokens: &Prompt,
        slot: u32,
    ) -> Transfer {
        let id = TransferId(self.vacant.pop().unwrap_or_else(|| {
            self.open.push(None);
            (self.open.len() - 1) as u32
        }));
        let Segment { tier, from, to } = segment;
        if kind == TransferKind::Store && self.is_behind(tier) {
            self.behind += to - from;
        }
        let tokens = tokens.clone();
        self.open[id.0 as usize] =
            Some(OpenTransfer { transfer: id, kind, tier, tokens: tokens.clone(), from, to, slot });
        let chunks = u64::from(to - from);
        let copies = chunks * u64::from(self.config.copies_per_chunk);
        let in_pass = kind == TransferKind::Load && self.config.load == LoadMode::InPass;
        Transfer {
            id,
            kind,
            tier,
            tokens,
            from_chunk: from,
            to_chunk: to,
            bytes: self.moved(kind, chunks),
            copies,
            holds_pass: in_pass,
            issue_cost: if kind == TransferKind::Store && !self.is_behind(tier) {
                self.config.store_cost_per_chunk * chunks
            } else {
                Nanos::ZERO
            },
        }
    }
}
