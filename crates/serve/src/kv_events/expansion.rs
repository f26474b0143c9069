//! From the engine's symbolic events to vLLM's.
//!
//! vLLM announces a run of new GPU blocks in one event, and each evicted block in its own, the end
//! of a chain first. An offload mechanism announces each stored chunk in its own event, and evicted
//! chunks in one.

use std::ops::Range;

use weir_model::mechanism::TierEvents;
use weir_model::{KvChange, KvEvent, MechanismTraits, TierKind};

use super::chain::{Forgotten, HashChain, cut};
use super::event::{BlockHash, BlockRemoved, BlockStored, Event, EventSource};
use crate::token_ids::TokenIds;

const GPU: &str = "GPU";

/// How chunks of tiers are announced.
#[derive(Debug)]
pub(super) struct TierNames {
    pub(super) mechanism: &'static MechanismTraits,
    pub(super) chunk_tokens: u32,
    pub(super) source: EventSource,
}

#[derive(Debug)]
pub struct Expander {
    chain: HashChain,
    tiers: Option<TierNames>,
    lost: u64,
}

impl Expander {
    pub(super) const fn new(chain: HashChain, tiers: Option<TierNames>) -> Self {
        Self { chain, tiers, lost: 0 }
    }

    /// Events that were not published because their token ids are forgotten.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    pub fn expand(&mut self, event: &KvEvent, ids: &dyn TokenIds, into: &mut Vec<Event>) {
        let done = match (event.tier, event.change) {
            (TierKind::Gpu, KvChange::Cleared) => {
                self.chain.clear();
                into.push(Event::Cleared);
                Ok(())
            }
            (TierKind::Gpu, KvChange::Stored) => self.stored(event, ids, into),
            (TierKind::Gpu, KvChange::Removed) => self.removed(event, ids, into),
            (_, KvChange::Cleared) => Ok(()),
            (tier, _) => {
                let tiers = self.tiers.as_ref();
                match tiers.and_then(|names| Some((names, names.mechanism.events_of(tier)?))) {
                    Some((names, of)) => names.expand(&mut self.chain, of, (event, ids), into),
                    None => Ok(()),
                }
            }
        };
        if done.is_err() {
            self.lost += 1;
        }
    }

    fn stored(
        &mut self,
        event: &KvEvent,
        ids: &dyn TokenIds,
        into: &mut Vec<Event>,
    ) -> Result<(), Forgotten> {
        let span = event.from_token..event.to_token;
        let mut hashes = Vec::new();
        let salt = salt_of(event, span.start, ids);
        let token_ids = tokens(event, span.clone(), ids)?;
        let path = event.path.pieces();
        let parent = self.chain.store(TierKind::Gpu, path, span, ids, &mut hashes)?;
        into.push(Event::Stored(BlockStored {
            source: EventSource::Pool,
            medium: GPU,
            hashes,
            parent,
            token_ids,
            block_tokens: self.chain.block_tokens(),
            salt,
        }));
        Ok(())
    }

    fn removed(
        &mut self,
        event: &KvEvent,
        ids: &dyn TokenIds,
        into: &mut Vec<Event>,
    ) -> Result<(), Forgotten> {
        let span = event.from_token..event.to_token;
        let mut hashes = Vec::new();
        self.chain.remove(TierKind::Gpu, event.path.pieces(), span, ids, &mut hashes)?;
        into.extend(hashes.into_iter().rev().map(|hash| {
            let (source, medium) = (EventSource::Pool, GPU);
            Event::Removed(BlockRemoved { source, medium, hashes: vec![hash] })
        }));
        Ok(())
    }
}

impl TierNames {
    fn expand(
        &self,
        chain: &mut HashChain,
        of: TierEvents,
        (event, ids): (&KvEvent, &dyn TokenIds),
        into: &mut Vec<Event>,
    ) -> Result<(), Forgotten> {
        let (path, span) = (event.path.pieces(), event.from_token..event.to_token);
        let per_chunk = (self.chunk_tokens / chain.block_tokens()).max(1) as usize;
        let mut hashes = Vec::new();
        if event.change == KvChange::Removed {
            chain.remove(of.tier, path, span, ids, &mut hashes)?;
            let hashes = hashes.chunks(per_chunk).rev().flat_map(|chunk| self.named(chunk));
            remove(self.source, of.medium, hashes.copied(), into);
            return Ok(());
        }
        let is_plain = self.source == EventSource::PlainOffloading;
        let token_ids = if is_plain { Vec::new() } else { tokens(event, span.clone(), ids)? };
        let mut parent = chain.store(of.tier, path, span, ids, &mut hashes)?;
        for (number, chunk) in hashes.chunks(per_chunk).enumerate() {
            let tokens = self.chunk_tokens as usize;
            into.push(Event::Stored(BlockStored {
                source: self.source,
                medium: of.medium,
                hashes: self.named(chunk).to_vec(),
                parent: parent.filter(|_| !is_plain),
                token_ids: token_ids.chunks(tokens).nth(number).unwrap_or_default().to_vec(),
                block_tokens: if is_plain { 0 } else { chain.block_tokens() },
                salt: None,
            }));
            parent = chunk.last().copied();
        }
        Ok(())
    }

    /// The hashes that stand for a chunk: by default its last one alone.
    fn named<'a>(&self, chunk: &'a [BlockHash]) -> &'a [BlockHash] {
        let from = match self.source {
            EventSource::PlainOffloading => chunk.len().saturating_sub(1),
            EventSource::Pool | EventSource::Offloading => 0,
        };
        &chunk[from..]
    }
}

/// Chunks that make room together leave in one event.
fn remove(
    source: EventSource,
    medium: &'static str,
    hashes: impl Iterator<Item = BlockHash>,
    into: &mut Vec<Event>,
) {
    match into.last_mut() {
        Some(Event::Removed(last)) if last.medium == medium => last.hashes.extend(hashes),
        _ => into.push(Event::Removed(BlockRemoved { source, medium, hashes: hashes.collect() })),
    }
}

fn salt_of(event: &KvEvent, from: u32, ids: &dyn TokenIds) -> Option<String> {
    if from == 0 { ids.cache_salt(event.path.pieces()).map(str::to_owned) } else { None }
}

fn tokens(event: &KvEvent, span: Range<u32>, ids: &dyn TokenIds) -> Result<Vec<u32>, Forgotten> {
    let mut tokens = Vec::with_capacity(span.len());
    if ids.append_token_ids(&cut(event.path.pieces(), span), &mut tokens) {
        Ok(tokens)
    } else {
        Err(Forgotten)
    }
}
