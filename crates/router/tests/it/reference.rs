//! Naive reference indexes: one map entry per block.

use std::collections::{BTreeMap, BTreeSet};

use weir_model::{ContentId, KvChange, KvEvent, Piece, Prompt, TierKind, Tokens};
use weir_router::{BlockIndex, Match, TierWeights};

/// All tokens up to the block's end.
type Block = Vec<(u64, u32, u32)>;

fn name_of(prompt: &Prompt, end: u32) -> Block {
    let prefix = prompt.truncated(Tokens(end));
    prefix.pieces().iter().map(|piece: &Piece| (piece.content.0, piece.start, piece.len)).collect()
}

/// Fewest runs that separate different marks. A block begins a run unless it alone follows its
/// predecessor with the same mark.
fn fewest_runs<M: PartialEq + Default>(marks: &BTreeMap<Block, M>, block_tokens: u32) -> usize {
    let unmarked = M::default();
    let mut after: BTreeMap<Block, BTreeSet<Block>> = BTreeMap::new();
    for block in marks.keys() {
        let mut block = block.clone();
        // Unmarked blocks count if they lead to a marked one.
        while !block.is_empty() {
            let before = predecessor(&block, block_tokens);
            after.entry(before.clone()).or_default().insert(block);
            block = before;
        }
    }
    let mark = |block: &Block| marks.get(block).unwrap_or(&unmarked);
    let begins = |before: &Block, next: &BTreeSet<Block>, block: &Block| {
        before.is_empty() || next.len() > 1 || mark(before) != mark(block)
    };
    let runs = after
        .iter()
        .map(|(before, next)| next.iter().filter(|block| begins(before, next, block)).count());
    runs.sum()
}

fn predecessor(block: &Block, block_tokens: u32) -> Block {
    let prompt = Prompt::new(block.iter().map(|(content, start, len)| Piece {
        content: ContentId(*content),
        start: *start,
        len: *len,
    }));
    name_of(&prompt, prompt.tokens().0 - block_tokens)
}

pub(crate) struct EventReference {
    pub(crate) block_tokens: u32,
    pub(crate) weights: TierWeights,
    counts_stores: bool,
    stores: BTreeMap<Block, BTreeMap<(u16, TierKind), u32>>,
}

impl EventReference {
    pub(crate) fn new(block_tokens: u32, weights: TierWeights, counts_stores: bool) -> Self {
        Self { block_tokens, weights, counts_stores, stores: BTreeMap::new() }
    }

    fn weight(&self, block: &Block, replica: u16) -> Option<f64> {
        let holders = self.stores.get(block)?;
        let tiers =
            TierKind::ALL.into_iter().filter(|tier| holders.contains_key(&(replica, *tier)));
        tiers
            .map(|tier| if tier == TierKind::Gpu { self.weights.gpu } else { self.weights.below })
            .reduce(f64::max)
    }
}

impl BlockIndex for EventReference {
    fn lookup(&mut self, prompt: &Prompt, matches: &mut [Match]) -> u32 {
        let total = prompt.tokens().0 / self.block_tokens;
        for (replica, found) in matches.iter_mut().enumerate() {
            *found = Match::default();
            for index in 0..total {
                let block = name_of(prompt, (index + 1) * self.block_tokens);
                let Some(weight) = self.weight(&block, replica as u16) else {
                    break;
                };
                found.blocks += 1;
                found.score += weight;
            }
        }
        total
    }

    fn placed(&mut self, _replica: u16, _prompt: &Prompt) {}

    fn apply(&mut self, replica: u16, event: &KvEvent) {
        let holder = (replica, event.tier);
        if event.change == KvChange::Cleared {
            for holders in self.stores.values_mut() {
                holders.retain(|(owner, _), _| *owner != replica);
            }
            self.stores.retain(|_, holders| !holders.is_empty());
            return;
        }
        let ends = (1..=event.to_token / self.block_tokens).map(|index| index * self.block_tokens);
        for end in ends.filter(|end| *end > event.from_token) {
            let block = name_of(&event.path, end);
            if event.change == KvChange::Stored {
                let count = self.stores.entry(block).or_default().entry(holder).or_insert(0);
                *count = if self.counts_stores { *count + 1 } else { 1 };
            } else if let Some(holders) = self.stores.get_mut(&block) {
                if let Some(count) = holders.get_mut(&holder) {
                    *count -= 1;
                    if *count == 0 {
                        holders.remove(&holder);
                    }
                }
                if holders.is_empty() {
                    self.stores.remove(&block);
                }
            }
        }
    }

    fn block_tokens(&self) -> u32 {
        self.block_tokens
    }

    fn known_blocks(&mut self) -> u64 {
        self.stores.len() as u64
    }

    fn extents(&mut self) -> usize {
        fewest_runs(&self.stores, self.block_tokens)
    }

    fn clear(&mut self) {
        self.stores.clear();
    }
}

/// Fed by placements: blocks per replica, oldest first.
pub(crate) struct PlacementReference {
    block_tokens: u32,
    capacity: usize,
    max_blocks: u32,
    stamp: u64,
    recent: BTreeMap<u16, Vec<(Block, u64)>>,
}

impl PlacementReference {
    pub(crate) fn new(block_tokens: u32, capacity: u32, max_prefix_tokens: u32) -> Self {
        let max_blocks = max_prefix_tokens / block_tokens;
        Self {
            block_tokens,
            capacity: capacity as usize,
            max_blocks,
            stamp: 0,
            recent: BTreeMap::new(),
        }
    }

    fn blocks(&self, prompt: &Prompt) -> Vec<Block> {
        let total = (prompt.tokens().0 / self.block_tokens).min(self.max_blocks);
        (1..=total).map(|index| name_of(prompt, index * self.block_tokens)).collect()
    }

    fn holds(&self, replica: u16, block: &Block) -> bool {
        self.recent
            .get(&replica)
            .is_some_and(|blocks| blocks.iter().any(|(known, _)| known == block))
    }
}

impl BlockIndex for PlacementReference {
    fn lookup(&mut self, prompt: &Prompt, matches: &mut [Match]) -> u32 {
        let blocks = self.blocks(prompt);
        matches.fill(Match::default());
        for block in &blocks {
            if !self.recent.keys().any(|replica| self.holds(*replica, block)) {
                break;
            }
            for (replica, found) in matches.iter_mut().enumerate() {
                if self.holds(replica as u16, block) {
                    found.blocks += 1;
                    found.score += 1.0;
                }
            }
        }
        blocks.len() as u32
    }

    fn placed(&mut self, replica: u16, prompt: &Prompt) {
        let blocks = self.blocks(prompt);
        self.stamp += 1;
        let recent = self.recent.entry(replica).or_default();
        for block in blocks {
            recent.retain(|(known, _)| *known != block);
            recent.push((block, self.stamp));
        }
        let excess = recent.len().saturating_sub(self.capacity);
        recent.drain(..excess);
    }

    fn apply(&mut self, _replica: u16, _event: &KvEvent) {}

    fn block_tokens(&self) -> u32 {
        self.block_tokens
    }

    fn known_blocks(&mut self) -> u64 {
        let mut all: Vec<&Block> = self.recent.values().flatten().map(|(block, _)| block).collect();
        all.sort();
        all.dedup();
        all.len() as u64
    }

    fn extents(&mut self) -> usize {
        let mut marks: BTreeMap<Block, BTreeMap<u16, u64>> = BTreeMap::new();
        for (replica, blocks) in &self.recent {
            for (block, stamp) in blocks {
                marks.entry(block.clone()).or_default().insert(*replica, *stamp);
            }
        }
        fewest_runs(&marks, self.block_tokens)
    }

    fn clear(&mut self) {
        self.stamp = 0;
        self.recent.clear();
    }
}
