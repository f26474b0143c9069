//! vLLM's block pool, block by block: reference of the pool by extents.

use std::collections::{BTreeMap, VecDeque};

/// The whole token sequence to the block's end, in place of the hash chain.
pub(crate) type Key = Vec<u32>;

#[derive(Debug, Clone, Default)]
struct Block {
    refs: u32,
    key: Option<Key>,
}

/// Block ids in order, and how many are cached.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlainHolding {
    pub(crate) blocks: Vec<usize>,
    pub(crate) cached: usize,
}

pub(crate) struct PlainPool {
    blocks: Vec<Block>,
    free: VecDeque<usize>,
    index: BTreeMap<Key, Vec<usize>>,
    unit: usize,
    pub(crate) evicted: u64,
}

impl PlainPool {
    pub(crate) fn new(blocks: usize, unit: usize) -> Self {
        Self {
            blocks: vec![Block::default(); blocks],
            free: (0..blocks).collect(),
            index: BTreeMap::new(),
            unit,
            evicted: 0,
        }
    }

    pub(crate) fn free_blocks(&self) -> usize {
        self.free.len()
    }

    /// Block ids of the cached prefix, and how many are not held.
    pub(crate) fn lookup(&self, tokens: &[u32], limit: usize) -> (Vec<usize>, usize) {
        let mut hit = Vec::new();
        let mut free = 0;
        for end in 1..=limit.min(tokens.len() / self.unit) {
            let Some(ids) = self.index.get(&tokens[..end * self.unit]) else { break };
            hit.push(ids[0]);
            free += usize::from(self.blocks[ids[0]].refs == 0);
        }
        (hit, free)
    }

    pub(crate) fn admit(&mut self, hit: &[usize]) -> PlainHolding {
        for id in hit {
            if self.blocks[*id].refs == 0 {
                self.free.retain(|free| free != id);
            }
            self.blocks[*id].refs += 1;
        }
        PlainHolding { blocks: hit.to_vec(), cached: hit.len() }
    }

    pub(crate) fn allocate(&mut self, holding: &mut PlainHolding, count: usize) -> bool {
        if count > self.free.len() {
            return false;
        }
        for _ in 0..count {
            let id = self.free.pop_front().expect("counted above");
            if let Some(key) = self.blocks[id].key.take() {
                let ids = self.index.get_mut(&key).expect("a hashed block is indexed");
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.index.remove(&key);
                }
                self.evicted += 1;
            }
            self.blocks[id].refs = 1;
            holding.blocks.push(id);
        }
        true
    }

    pub(crate) fn cache(&mut self, holding: &mut PlainHolding, tokens: &[u32], count: usize) {
        for _ in 0..count {
            let id = holding.blocks[holding.cached];
            holding.cached += 1;
            let key = tokens[..holding.cached * self.unit].to_vec();
            self.index.entry(key.clone()).or_default().push(id);
            self.blocks[id].key = Some(key);
        }
    }

    pub(crate) fn release(&mut self, holding: PlainHolding) {
        for id in holding.blocks.into_iter().rev() {
            self.blocks[id].refs -= 1;
            if self.blocks[id].refs == 0 {
                if self.blocks[id].key.is_some() {
                    self.free.push_back(id);
                } else {
                    self.free.push_front(id);
                }
            }
        }
    }

    /// Leading blocks with `holders` references.
    pub(crate) fn common_blocks(&self, holding: &PlainHolding, holders: u32) -> usize {
        holding.blocks.iter().take_while(|id| self.blocks[**id].refs >= holders).count()
    }
}
