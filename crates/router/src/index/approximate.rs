//! The index of the router's own decisions.
//!
//! llm-d keeps an LRU of block hashes per replica and adds a prompt's blocks from first to last. So
//! a prompt's *first* blocks are evicted first. A lookup counts a replica's blocks up to the first
//! block that *no* replica holds, consecutive or not (`approximateprefix/indexer.go`,
//! `matchLongestPrefix`).

use std::collections::BTreeMap;

use smallvec::SmallVec;
use weir_model::prefix_tree::{NodeId, PrefixTree};
use weir_model::{KvEvent, Prompt};

use super::extent::{ExtentTree, Mark, Missing, Span, Watch};
use super::{BlockIndex, Match};

/// When a replica last got the blocks, in placements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Use {
    replica: u16,
    stamp: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Uses(SmallVec<[Use; 4]>);

impl Mark for Uses {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Uses {
    /// Returns the previous stamp.
    fn touch(&mut self, replica: u16, stamp: u64) -> Option<u64> {
        match self.0.binary_search_by_key(&replica, |used| used.replica) {
            Ok(index) => Some(std::mem::replace(&mut self.0[index].stamp, stamp)),
            Err(index) => {
                self.0.insert(index, Use { replica, stamp });
                None
            }
        }
    }

    fn forget(&mut self, replica: u16) {
        self.0.retain(|used| used.replica != replica);
    }
}

/// Extents of one replica, oldest first. A stamp belongs to one prompt; the first block orders its
/// extents as they were added.
#[derive(Debug, Clone, Default)]
struct Recency {
    order: BTreeMap<(u64, u32), NodeId>,
    blocks: u64,
}

/// Grows to the highest replica placed on.
#[derive(Debug, Clone, Default)]
struct Recencies(Vec<Recency>);

impl Recencies {
    fn of(&mut self, replica: u16) -> &mut Recency {
        let index = usize::from(replica);
        if self.0.len() <= index {
            self.0.resize_with(index + 1, Recency::default);
        }
        &mut self.0[index]
    }
}

impl Watch<Uses> for Recencies {
    fn split(&mut self, tree: &PrefixTree<Uses>, upper: NodeId, lower: NodeId) {
        for used in &tree.payload(lower).0 {
            let order = &mut self.of(used.replica).order;
            order.insert((used.stamp, tree.start_units(upper)), upper);
            order.insert((used.stamp, tree.start_units(lower)), lower);
        }
    }

    fn merging(&mut self, tree: &PrefixTree<Uses>, upper: NodeId, lower: NodeId) {
        for used in &tree.payload(lower).0 {
            let order = &mut self.of(used.replica).order;
            order.remove(&(used.stamp, tree.start_units(lower)));
            order.insert((used.stamp, tree.start_units(upper)), lower);
        }
    }
}

/// As llm-d's approximate prefix producer.
#[derive(Debug, Clone)]
pub struct ApproximateIndex {
    extents: ExtentTree<Uses>,
    recencies: Recencies,
    blocks_per_replica: u64,
    max_blocks: u32,
    known_blocks: u64,
    stamp: u64,
    nodes: Vec<NodeId>,
}

impl ApproximateIndex {
    /// `block_tokens` is at least 1. Prefixes match up to `max_prefix_tokens`.
    pub fn new(block_tokens: u32, blocks_per_replica: u32, max_prefix_tokens: u32) -> Self {
        let block_tokens = block_tokens.max(1);
        Self {
            extents: ExtentTree::new(block_tokens),
            recencies: Recencies::default(),
            blocks_per_replica: u64::from(blocks_per_replica),
            max_blocks: max_prefix_tokens / block_tokens,
            known_blocks: 0,
            stamp: 0,
            nodes: Vec::new(),
        }
    }

    pub fn blocks_of(&self, replica: u16) -> u64 {
        self.recencies.0.get(usize::from(replica)).map_or(0, |recency| recency.blocks)
    }

    fn blocks(&self, prompt: &Prompt) -> u32 {
        (prompt.tokens().0 / self.block_tokens()).min(self.max_blocks)
    }

    fn touch(&mut self, node: NodeId, replica: u16) {
        let (start, units) =
            (self.extents.tree().start_units(node), self.extents.tree().units(node));
        let mark = self.extents.mark_mut(node);
        if mark.is_empty() {
            self.known_blocks += u64::from(units);
        }
        let before = mark.touch(replica, self.stamp);
        let recency = self.recencies.of(replica);
        match before {
            Some(stamp) => {
                recency.order.remove(&(stamp, start));
            }
            None => recency.blocks += u64::from(units),
        }
        recency.order.insert((self.stamp, start), node);
    }

    /// Evicts the oldest blocks beyond the replica's capacity.
    fn evict(&mut self, replica: u16) {
        loop {
            let recency = self.recencies.of(replica);
            let excess = recency.blocks.saturating_sub(self.blocks_per_replica);
            if excess == 0 {
                return;
            }
            let Some((key, node)) = recency.order.first_key_value().map(|(k, n)| (*k, *n)) else {
                return;
            };
            let units = u64::from(self.extents.tree().units(node)).min(excess);
            let gone = self.extents.front(node, units as u32, &mut self.recencies);
            let recency = self.recencies.of(replica);
            recency.order.remove(&key);
            recency.blocks -= units;
            let mark = self.extents.mark_mut(gone);
            mark.forget(replica);
            if mark.is_empty() {
                self.known_blocks -= units;
            }
            self.extents.settle(&[gone], &mut self.recencies);
        }
    }
}

impl BlockIndex for ApproximateIndex {
    fn lookup(&mut self, prompt: &Prompt, matches: &mut [Match]) -> u32 {
        matches.fill(Match::default());
        let total = self.blocks(prompt);
        self.extents.follow(prompt.pieces(), total, |uses, units| {
            for used in &uses.0 {
                if let Some(found) = matches.get_mut(usize::from(used.replica)) {
                    found.blocks += units;
                    found.score += f64::from(units);
                }
            }
            !uses.is_empty()
        });
        total
    }

    fn placed(&mut self, replica: u16, prompt: &Prompt) {
        let to = self.blocks(prompt);
        if to == 0 {
            return;
        }
        self.stamp += 1;
        let span = Span { pieces: prompt.pieces(), from: 0, to };
        let mut nodes = std::mem::take(&mut self.nodes);
        nodes.clear();
        self.extents.cover(span, &Missing::Add, &mut self.recencies, &mut nodes);
        for node in &nodes {
            self.touch(*node, replica);
        }
        self.extents.settle(&nodes, &mut self.recencies);
        self.nodes = nodes;
        self.evict(replica);
    }

    fn apply(&mut self, _replica: u16, _event: &KvEvent) {}

    fn block_tokens(&self) -> u32 {
        self.extents.tree().unit_tokens()
    }

    fn known_blocks(&mut self) -> u64 {
        self.known_blocks
    }

    fn extents(&mut self) -> usize {
        self.extents.tree().len() - 1
    }

    fn clear(&mut self) {
        self.extents.clear();
        self.recencies = Recencies::default();
        self.known_blocks = 0;
        self.stamp = 0;
    }
}
