//! The index that engines feed with KV events.
//!
//! An index block belongs to the event that has its last token. A tier's blocks partition a prompt,
//! so each index block belongs to exactly one, larger or smaller. So stores and removals balance.

use smallvec::SmallVec;
use weir_model::prefix_tree::NodeId;
use weir_model::{KvChange, KvEvent, Prompt, TierKind};

use super::extent::{ExtentTree, Mark, Span};
use super::{BlockIndex, Match};

/// Score of a block per tier. The best tier of a replica counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TierWeights {
    pub gpu: f64,
    pub below: f64,
}

impl TierWeights {
    const fn of(&self, tier: TierKind) -> f64 {
        match tier {
            TierKind::Gpu => self.gpu,
            TierKind::Host | TierKind::Disk | TierKind::Remote => self.below,
        }
    }
}

/// Stores less removals by a replica in a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holder {
    replica: u16,
    tier: TierKind,
    stores: u32,
}

/// By replica and tier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Holders(SmallVec<[Holder; 4]>);

impl Mark for Holders {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Holders {
    fn find(&self, replica: u16, tier: TierKind) -> Result<usize, usize> {
        self.0.binary_search_by_key(&(replica, tier), |holder| (holder.replica, holder.tier))
    }

    fn store(&mut self, replica: u16, tier: TierKind) {
        match self.find(replica, tier) {
            Ok(index) => self.0[index].stores += 1,
            Err(index) => self.0.insert(index, Holder { replica, tier, stores: 1 }),
        }
    }

    /// Removals without a store are ignored.
    fn remove(&mut self, replica: u16, tier: TierKind) {
        if let Ok(index) = self.find(replica, tier) {
            self.0[index].stores -= 1;
            if self.0[index].stores == 0 {
                self.0.remove(index);
            }
        }
    }

    fn clear(&mut self, replica: u16, tier: TierKind) {
        if let Ok(index) = self.find(replica, tier) {
            self.0.remove(index);
        }
    }

    /// Each holder with the weight of its best tier.
    fn replicas(&self, weights: TierWeights) -> impl Iterator<Item = (u16, f64)> + '_ {
        self.0.chunk_by(|a, b| a.replica == b.replica).map(move |tiers| {
            let best = tiers.iter().map(|holder| weights.of(holder.tier)).fold(0.0, f64::max);
            (tiers[0].replica, best)
        })
    }
}

/// As llm-d's precise prefix scorer. Like its event filter it counts stores per block, replica and
/// tier: a block stored twice must be removed twice. A removal without a store does nothing;
/// `Cleared` removes all stores of the replica in that tier.
#[derive(Debug, Clone)]
pub struct PreciseIndex {
    extents: ExtentTree<Holders>,
    weights: TierWeights,
    known_blocks: u64,
    nodes: Vec<NodeId>,
}

impl PreciseIndex {
    /// `block_tokens` is at least 1.
    pub fn new(block_tokens: u32, weights: TierWeights) -> Self {
        Self {
            extents: ExtentTree::new(block_tokens.max(1)),
            weights,
            known_blocks: 0,
            nodes: Vec::new(),
        }
    }

    /// Changes the marks of `self.nodes` and restores the tree's form.
    fn change_nodes(&mut self, mut change: impl FnMut(&mut Holders)) {
        for node in &self.nodes {
            let units = u64::from(self.extents.tree().units(*node));
            let mark = self.extents.mark_mut(*node);
            let was_empty = mark.is_empty();
            change(mark);
            match (was_empty, mark.is_empty()) {
                (true, false) => self.known_blocks += units,
                (false, true) => self.known_blocks -= units,
                _ => {}
            }
        }
        self.extents.settle(&self.nodes, &mut ());
    }
}

impl BlockIndex for PreciseIndex {
    fn lookup(&self, prompt: &Prompt, matches: &mut [Match]) -> u32 {
        matches.fill(Match::default());
        let total = prompt.tokens().0 / self.block_tokens();
        let mut at = 0;
        self.extents.follow(prompt.pieces(), total, |holders, units| {
            let mut alive = false;
            for (replica, weight) in holders.replicas(self.weights) {
                let Some(found) = matches.get_mut(usize::from(replica)) else {
                    continue;
                };
                // A replica that lacks an earlier block is out.
                if found.blocks == at {
                    found.blocks += units;
                    found.score += weight * f64::from(units);
                    alive = true;
                }
            }
            at += units;
            alive
        });
        total
    }

    fn placed(&mut self, _replica: u16, _prompt: &Prompt) {}

    fn apply(&mut self, replica: u16, event: &KvEvent) {
        let tier = event.tier;
        self.nodes.clear();
        if event.change == KvChange::Cleared {
            self.nodes.extend(self.extents.tree().extents());
            self.change_nodes(|holders| holders.clear(replica, tier));
            return;
        }
        let path_tokens: u64 = event.path.iter().map(|piece| u64::from(piece.len)).sum();
        if path_tokens < u64::from(event.to_token) {
            // A span beyond its path has no blocks.
            return;
        }
        let unit = self.block_tokens();
        let span =
            Span { pieces: &event.path, from: event.from_token / unit, to: event.to_token / unit };
        let stored = event.change == KvChange::Stored;
        if span.from >= span.to {
            return;
        }
        self.extents.cover(span, stored, &mut (), &mut self.nodes);
        if stored {
            self.change_nodes(|holders| holders.store(replica, tier));
        } else {
            self.change_nodes(|holders| holders.remove(replica, tier));
        }
    }

    fn block_tokens(&self) -> u32 {
        self.extents.tree().unit_tokens()
    }

    fn known_blocks(&self) -> u64 {
        self.known_blocks
    }

    fn extents(&self) -> usize {
        self.extents.tree().len() - 1
    }

    fn clear(&mut self) {
        self.extents.clear();
        self.known_blocks = 0;
    }
}
