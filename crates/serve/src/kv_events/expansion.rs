//! From symbolic events of the engine to vLLM's: which events, how many, and what they say.
//!
//! vLLM announces a run of new GPU blocks in one event with their tokens, and each evicted one in
//! an event of its own, the end of a chain first. Its offload connector announces host chunks one
//! by one: by default with a placeholder that carries nothing but the hash of the chunk's last
//! block, or (`self_describing_kv_events`) in full; evictions of a pass come as one event.

use std::ops::Range;

use weir_model::{KvChange, KvEvent, TierKind};

use super::chain::{Forgotten, HashChain, cut};
use super::event::{BlockHash, BlockStored, Event, ExtraKeys, Medium};
use crate::token_ids::TokenIds;

/// What is published about the tiers below the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierEvents {
    /// Nothing, as with `LMCache`.
    Silent,
    /// vLLM's default: the hash of each chunk's last block.
    Placeholder {
        /// Tokens per chunk, a multiple of the block.
        chunk_tokens: u32,
    },
    /// `self_describing_kv_events`: all blocks of each chunk with their tokens.
    Described {
        /// Tokens per chunk, a multiple of the block.
        chunk_tokens: u32,
    },
}

/// Expands the events of one engine.
#[derive(Debug)]
pub struct Expander {
    chain: HashChain,
    block_tokens: u32,
    tiers: TierEvents,
    lost: u64,
}

impl Expander {
    pub(super) fn new(chain: HashChain, block_tokens: u32, tiers: TierEvents) -> Self {
        Self { chain, block_tokens, tiers, lost: 0 }
    }

    /// Events that could not be published because nobody knows their blocks' token ids any more.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Blocks whose hashes are remembered.
    pub fn remembered_blocks(&self) -> usize {
        self.chain.len()
    }

    /// Appends what vLLM would publish for `event` to `into`.
    pub fn expand(&mut self, event: &KvEvent, ids: &dyn TokenIds, into: &mut Vec<Event>) {
        let done = match (event.change, event.tier) {
            (KvChange::Cleared, TierKind::Gpu) => {
                self.chain.clear(TierKind::Gpu);
                into.push(Event::Cleared);
                Ok(())
            }
            (KvChange::Cleared, tier) => {
                let hashes = self.chain.clear(tier);
                if self.tiers != TierEvents::Silent && !hashes.is_empty() {
                    into.push(Event::Removed { hashes, medium: medium(tier) });
                }
                Ok(())
            }
            (_, TierKind::Gpu) => self.gpu(event, ids, into),
            _ => match self.tiers {
                TierEvents::Silent => Ok(()),
                TierEvents::Placeholder { chunk_tokens } => {
                    self.tier(event, chunk_tokens, false, ids, into)
                }
                TierEvents::Described { chunk_tokens } => {
                    self.tier(event, chunk_tokens, true, ids, into)
                }
            },
        };
        if done.is_err() {
            self.lost += 1;
        }
    }

    fn gpu(
        &mut self,
        event: &KvEvent,
        ids: &dyn TokenIds,
        into: &mut Vec<Event>,
    ) -> Result<(), Forgotten> {
        let span = event.from_token..event.to_token;
        let mut hashes = Vec::new();
        if event.change == KvChange::Stored {
            let extra_keys = ExtraKeys::PerBlock { salt: salt_of(event, span.start, ids) };
            let token_ids = tokens(event, span.clone(), ids)?;
            let parent = self.chain.store(&event.path, span, event.tier, ids, &mut hashes)?;
            into.push(Event::Stored(BlockStored {
                hashes,
                parent,
                token_ids,
                block_tokens: self.block_tokens,
                medium: Medium::Gpu,
                extra_keys,
                has_spec_kind: true,
            }));
        } else {
            self.chain.remove(&event.path, span, event.tier, ids, &mut hashes)?;
            into.extend(
                hashes
                    .iter()
                    .rev()
                    .map(|hash| Event::Removed { hashes: vec![*hash], medium: Medium::Gpu }),
            );
        }
        Ok(())
    }

    fn tier(
        &mut self,
        event: &KvEvent,
        chunk_tokens: u32,
        described: bool,
        ids: &dyn TokenIds,
        into: &mut Vec<Event>,
    ) -> Result<(), Forgotten> {
        let span = event.from_token..event.to_token;
        let mut hashes = Vec::new();
        let blocks_per_chunk = (chunk_tokens / self.block_tokens).max(1) as usize;
        if event.change == KvChange::Removed {
            self.chain.remove(&event.path, span, event.tier, ids, &mut hashes)?;
            // The end of the prefix goes first here as well.
            let mut gone: Vec<BlockHash> = if described {
                hashes
            } else {
                hashes.chunks_exact(blocks_per_chunk).map(|chunk| chunk[chunk.len() - 1]).collect()
            };
            gone.reverse();
            into.push(Event::Removed { hashes: gone, medium: medium(event.tier) });
            return Ok(());
        }
        let token_ids = if described { tokens(event, span.clone(), ids)? } else { Vec::new() };
        let mut parent = self.chain.store(&event.path, span, event.tier, ids, &mut hashes)?;
        let mut chunk_ids = token_ids.chunks_exact(blocks_per_chunk * self.block_tokens as usize);
        for chunk in hashes.chunks_exact(blocks_per_chunk) {
            let last = chunk[chunk.len() - 1];
            let stored = BlockStored {
                hashes: if described { chunk.to_vec() } else { vec![last] },
                parent: parent.filter(|_| described),
                token_ids: chunk_ids.next().map(<[u32]>::to_vec).unwrap_or_default(),
                block_tokens: if described { self.block_tokens } else { 0 },
                medium: medium(event.tier),
                extra_keys: ExtraKeys::Absent,
                has_spec_kind: described,
            };
            into.push(Event::Stored(stored));
            parent = Some(last);
        }
        Ok(())
    }
}

fn medium(tier: TierKind) -> Medium {
    match tier {
        TierKind::Gpu => Medium::Gpu,
        TierKind::Host => Medium::Cpu,
        TierKind::Disk | TierKind::Remote => Medium::Storage,
    }
}

fn salt_of(event: &KvEvent, from: u32, ids: &dyn TokenIds) -> Option<String> {
    if from == 0 { ids.cache_salt(&event.path).map(str::to_owned) } else { None }
}

fn tokens(event: &KvEvent, span: Range<u32>, ids: &dyn TokenIds) -> Result<Vec<u32>, Forgotten> {
    let mut tokens = Vec::with_capacity(span.len());
    if ids.append_token_ids(&cut(&event.path, span), &mut tokens) {
        Ok(tokens)
    } else {
        Err(Forgotten)
    }
}
