//! Marks on runs of blocks, over the radix tree: the ground under both indexes.
//!
//! Owns how a span of a prompt becomes whole extents, and how extents that carry equal marks
//! again become one. Without the joining, an engine that evicts a shared prefix block by block
//! would leave a chain of one-block extents behind, and every later lookup would walk it.

use weir_model::Piece;
use weir_model::prefix_tree::{NodeId, Position, PrefixTree};

/// What an extent carries: equal for all of its blocks.
pub(super) trait Mark: Clone + Default + PartialEq {
    /// True when no replica holds the blocks; such extents only lead to others.
    fn is_empty(&self) -> bool;
}

/// Callbacks for changes of extents that change no block's mark.
pub(super) trait Watch<M> {
    /// `upper` now holds the front of what `lower` held; both carry the same mark.
    fn split(&mut self, tree: &PrefixTree<M>, upper: NodeId, lower: NodeId);

    /// `upper` is about to hand its blocks to its only child `lower`.
    fn merging(&mut self, tree: &PrefixTree<M>, upper: NodeId, lower: NodeId);
}

/// For marks that nothing else points into.
impl<M> Watch<M> for () {
    fn split(&mut self, _tree: &PrefixTree<M>, _upper: NodeId, _lower: NodeId) {}

    fn merging(&mut self, _tree: &PrefixTree<M>, _upper: NodeId, _lower: NodeId) {}
}

/// Blocks `from` up to, but not including, `to` of a sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span<'a> {
    /// Canonical pieces, at least to the end of the span.
    pub pieces: &'a [Piece],
    pub from: u32,
    /// Block after the last.
    pub to: u32,
}

#[derive(Debug, Clone)]
pub(super) struct ExtentTree<M> {
    tree: PrefixTree<M>,
}

impl<M: Mark> ExtentTree<M> {
    pub(super) fn new(block_tokens: u32) -> Self {
        Self { tree: PrefixTree::new(block_tokens) }
    }

    pub(super) fn clear(&mut self) {
        self.tree.clear();
    }

    pub(super) fn tree(&self) -> &PrefixTree<M> {
        &self.tree
    }

    pub(super) fn mark_mut(&mut self, node: NodeId) -> &mut M {
        self.tree.payload_mut(node)
    }

    /// Visits the extents that a sequence follows from its first block on, with the number of
    /// blocks that it shares with each, until `visit` says no or `limit` blocks are seen.
    pub(super) fn follow(
        &self,
        pieces: &[Piece],
        limit: u32,
        mut visit: impl FnMut(&M, u32) -> bool,
    ) {
        let unit = self.tree.unit_tokens();
        let (mut node, mut place, mut at) = (NodeId::ROOT, Position::default(), 0);
        while let Some(step) = self.tree.enter(node, pieces, place, limit - at) {
            if !visit(self.tree.payload(step.node), step.units)
                || step.units < self.tree.units(step.node)
            {
                return;
            }
            node = step.node;
            at += step.units;
            place = place.advanced(pieces, step.units * unit);
        }
    }

    /// Cuts the tree so that the span is made of whole extents, and appends those to `nodes` in
    /// order. With `grow`, blocks that are not there come to be; otherwise the walk ends at the
    /// first of them.
    pub(super) fn cover(
        &mut self,
        span: Span<'_>,
        grow: bool,
        watch: &mut impl Watch<M>,
        nodes: &mut Vec<NodeId>,
    ) {
        let unit = self.tree.unit_tokens();
        let Span { pieces, from, to } = span;
        let (mut node, mut place, mut at) = (NodeId::ROOT, Position::default(), 0);
        while at < to {
            // Before the span, look no further than its beginning.
            let end = if at < from { from } else { to };
            let next = match self.tree.enter(node, pieces, place, end - at) {
                Some(step) => {
                    let end_of_node = step.units == self.tree.units(step.node);
                    if !grow && !end_of_node && at + step.units < from {
                        return;
                    }
                    self.front(step.node, step.units, watch)
                }
                None if grow => self.tree.add_child(node, pieces, place, end - at, M::default()),
                None => {
                    // A cut at the beginning of a span that turned out not to be there.
                    if nodes.is_empty() && node != NodeId::ROOT {
                        self.settle_one(node, watch);
                    }
                    return;
                }
            };
            if at >= from {
                nodes.push(next);
            }
            let units = self.tree.units(next);
            at += units;
            place = place.advanced(pieces, units * unit);
            node = next;
        }
    }

    /// The extent of the first `units` blocks of a node.
    pub(super) fn front(&mut self, node: NodeId, units: u32, watch: &mut impl Watch<M>) -> NodeId {
        if units == self.tree.units(node) {
            return node;
        }
        let upper = self.tree.split(node, units, |mark| mark.clone());
        watch.split(&self.tree, upper, node);
        upper
    }

    /// Puts the tree into its least form around extents whose marks changed, given in order from
    /// the root: empty leaves go, and neighbours with equal marks that nothing branches off
    /// become one.
    pub(super) fn settle(&mut self, nodes: &[NodeId], watch: &mut impl Watch<M>) {
        for node in nodes.iter().rev() {
            // An earlier round may have taken it away.
            if self.tree.is_extent(*node) {
                self.settle_one(*node, watch);
            }
        }
    }

    fn settle_one(&mut self, node: NodeId, watch: &mut impl Watch<M>) {
        let mut node = node;
        while self.tree.children(node) == 0 && self.tree.payload(node).is_empty() {
            let parent = self.tree.parent(node);
            self.tree.remove(node);
            if parent == NodeId::ROOT {
                return;
            }
            node = parent;
        }
        if let Some(lower) = self.merge_down(node, watch) {
            node = lower;
        }
        loop {
            let parent = self.tree.parent(node);
            if parent == NodeId::ROOT || self.merge_down(parent, watch).is_none() {
                return;
            }
        }
    }

    /// Joins an extent with its only child if their marks are equal; returns the child then.
    fn merge_down(&mut self, upper: NodeId, watch: &mut impl Watch<M>) -> Option<NodeId> {
        let lower = self.tree.only_child(upper)?;
        if self.tree.payload(upper) != self.tree.payload(lower) {
            return None;
        }
        watch.merging(&self.tree, upper, lower);
        self.tree.merge_into_child(upper);
        Some(lower)
    }
}
