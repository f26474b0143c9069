//! The index that engines feed with KV events.
//!
//! An index block belongs to the event that has its last token. A tier's blocks partition a prompt,
//! so each index block belongs to exactly one, larger or smaller. So stores and removals balance.

use smallvec::SmallVec;
use weir_model::prefix_tree::NodeId;
use weir_model::{KvChange, KvEvent, Prompt, TierKind};

use super::extent::{ExtentTree, Mark, Missing, Span};
use super::pending::Pending;
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

/// Stores less removals by a replica in a tier; at most 1 unless stores are counted.
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
    fn of(holder: Holder) -> Self {
        Self(SmallVec::from_iter([holder]))
    }

    fn find(&self, replica: u16, tier: TierKind) -> Result<usize, usize> {
        self.0.binary_search_by_key(&(replica, tier), |holder| (holder.replica, holder.tier))
    }

    fn store(&mut self, replica: u16, tier: TierKind, counts: bool) {
        match self.find(replica, tier) {
            Ok(index) => self.0[index].stores += u32::from(counts),
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

    fn clear(&mut self, replica: u16) {
        self.0.retain(|holder| holder.replica != replica);
    }

    /// Each holder with the weight of its best tier.
    fn replicas(&self, weights: TierWeights) -> impl Iterator<Item = (u16, f64)> + '_ {
        self.0.chunk_by(|a, b| a.replica == b.replica).map(move |tiers| {
            let best = tiers.iter().map(|holder| weights.of(holder.tier)).fold(0.0, f64::max);
            (tiers[0].replica, best)
        })
    }
}

/// As the index of llm-d's precise prefix scorer (llm-d-kv-cache 0.9 `pkg/kvevents`,
/// `pkg/kvcache`). A removal without a store does nothing. `Cleared` forgets the replica's blocks
/// in all tiers, whatever tier it names.
#[derive(Debug, Clone)]
pub struct PreciseIndex {
    extents: ExtentTree<Holders>,
    weights: TierWeights,
    counts_stores: bool,
    known_blocks: u64,
    pending: Pending,
    nodes: Vec<NodeId>,
}

impl PreciseIndex {
    /// `block_tokens` is at least 1. With `counts_stores` a block stored twice by a replica in a
    /// tier must be removed twice.
    pub fn new(block_tokens: u32, weights: TierWeights, counts_stores: bool) -> Self {
        Self {
            extents: ExtentTree::new(block_tokens.max(1)),
            weights,
            counts_stores,
            known_blocks: 0,
            pending: Pending::default(),
            nodes: Vec::new(),
        }
    }

    fn settle_all(&mut self) {
        for (replica, event) in self.pending.take_all() {
            self.change(replica, &event);
        }
    }

    /// Events that matter to lookups of the prompt.
    fn settle_for(&mut self, prompt: &Prompt) {
        let Some(first) = prompt.pieces().first() else { return };
        let Some(events) = self.pending.take(first.content) else { return };
        for (replica, event) in &events {
            self.change(*replica, event);
        }
        self.pending.give_back(events);
    }

    fn change(&mut self, replica: u16, event: &KvEvent) {
        let (tier, unit) = (event.tier, self.block_tokens());
        let pieces = event.path.pieces();
        let span = Span { pieces, from: event.from_token / unit, to: event.to_token / unit };
        if span.from >= span.to {
            return;
        }
        self.nodes.clear();
        if event.change == KvChange::Stored {
            let counts = self.counts_stores;
            let alone = Holders::of(Holder { replica, tier, stores: 1 });
            let missing = Missing::Append(&alone);
            let appended = self.extents.cover(span, &missing, &mut (), &mut self.nodes);
            self.known_blocks += u64::from(appended);
            self.change_nodes(|holders| holders.store(replica, tier, counts));
        } else {
            self.extents.cover(span, &Missing::Stop, &mut (), &mut self.nodes);
            self.change_nodes(|holders| holders.remove(replica, tier));
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
    fn lookup(&mut self, prompt: &Prompt, matches: &mut [Match]) -> u32 {
        self.settle_for(prompt);
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
        if event.change == KvChange::Cleared {
            self.settle_all();
            self.nodes.clear();
            self.nodes.extend(self.extents.tree().extents());
            self.change_nodes(|holders| holders.clear(replica));
            return;
        }
        // A span beyond its path has no blocks.
        if event.from_token < event.to_token && event.to_token <= event.path.tokens().0 {
            self.pending.push(replica, event);
        }
        if self.pending.is_full() {
            self.settle_all();
        }
    }

    fn block_tokens(&self) -> u32 {
        self.extents.tree().unit_tokens()
    }

    fn known_blocks(&mut self) -> u64 {
        self.settle_all();
        self.known_blocks
    }

    fn extents(&mut self) -> usize {
        self.settle_all();
        self.extents.tree().len() - 1
    }

    fn clear(&mut self) {
        self.pending.clear();
        self.extents.clear();
        self.known_blocks = 0;
    }
}
