//! From the engine's symbolic events to vLLM's.
//!
//! vLLM announces a run of new GPU blocks in one event, and each evicted block in its own, the end
//! of a chain first. It publishes nothing of tiers below the GPU.

use std::ops::Range;

use weir_model::{KvChange, KvEvent, TierKind};

use super::chain::{Forgotten, HashChain, cut};
use super::event::{BlockStored, Event};
use crate::token_ids::TokenIds;

#[derive(Debug)]
pub struct Expander {
    chain: HashChain,
    block_tokens: u32,
    lost: u64,
}

impl Expander {
    pub(super) fn new(chain: HashChain, block_tokens: u32) -> Self {
        Self { chain, block_tokens, lost: 0 }
    }

    /// Events that were not published because their token ids are forgotten.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    pub fn expand(&mut self, event: &KvEvent, ids: &dyn TokenIds, into: &mut Vec<Event>) {
        if event.tier != TierKind::Gpu {
            return;
        }
        let done = match event.change {
            KvChange::Cleared => {
                self.chain.clear();
                into.push(Event::Cleared);
                Ok(())
            }
            KvChange::Stored => self.stored(event, ids, into),
            KvChange::Removed => self.removed(event, ids, into),
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
        let parent = self.chain.store(event.path.pieces(), span, ids, &mut hashes)?;
        let block_tokens = self.block_tokens;
        into.push(Event::Stored(BlockStored { hashes, parent, token_ids, block_tokens, salt }));
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
        self.chain.remove(event.path.pieces(), span, ids, &mut hashes)?;
        into.extend(hashes.into_iter().rev().map(Event::Removed));
        Ok(())
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
