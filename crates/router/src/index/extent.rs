//! Marks on runs of blocks in the radix tree, for both indexes.
//!
//! A span of a prompt becomes whole extents, and neighbours with equal marks are merged. Without
//! merging, an engine that evicts a prefix block by block would leave a chain of one-block extents,
//! and slow every later lookup.

use weir_model::Piece;
use weir_model::prefix_tree::{NodeId, Position, PrefixTree};

/// Equal for all blocks of an extent.
pub(super) trait Mark: Clone + Default + PartialEq {
    /// True if no replica holds the blocks; such extents only lead to others.
    fn is_empty(&self) -> bool;
}

/// Changes of extents that change no block's mark.
pub(super) trait Watch<M> {
    /// `upper` now has the front of `lower`, with the same mark.
    fn split(&mut self, tree: &PrefixTree<M>, upper: NodeId, lower: NodeId);

    /// `upper` will give its blocks to its only child `lower`.
    fn merging(&mut self, tree: &PrefixTree<M>, upper: NodeId, lower: NodeId);
}

/// For marks without references to them.
impl<M> Watch<M> for () {
    fn split(&mut self, _tree: &PrefixTree<M>, _upper: NodeId, _lower: NodeId) {}

    fn merging(&mut self, _tree: &PrefixTree<M>, _upper: NodeId, _lower: NodeId) {}
}

/// What becomes of blocks of a span that the tree lacks.
pub(super) enum Missing<'a, M> {
    /// The walk ends at the first.
    Stop,
    /// They are added without a mark.
    Add,
    /// As `Add`. But a leaf that has this mark and ends where the span begins takes them all: the
    /// usual case of a sequence that grows needs no extent that is merged at once.
    Append(&'a M),
}

/// Blocks `from..to` of a sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span<'a> {
    /// Canonical, at least to the end of the span.
    pub pieces: &'a [Piece],
    pub from: u32,
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

    /// Visits the extents of a sequence from its first block, with the shared blocks of each, until
    /// `visit` returns false or `limit` blocks are visited.
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

    /// Splits extents so that the span is whole ones, and appends these to `nodes` in order.
    /// Returns the number of blocks that a leaf took ([`Missing::Append`]); that leaf is not in
    /// `nodes`.
    pub(super) fn cover(
        &mut self,
        span: Span<'_>,
        missing: &Missing<'_, M>,
        watch: &mut impl Watch<M>,
        nodes: &mut Vec<NodeId>,
    ) -> u32 {
        let unit = self.tree.unit_tokens();
        let Span { pieces, from, to } = span;
        let stops = matches!(missing, Missing::Stop);
        let (mut node, mut place, mut at) = (NodeId::ROOT, Position::default(), 0);
        while at < to {
            // Before the span, up to its start only.
            let end = if at < from { from } else { to };
            let next = match self.tree.enter(node, pieces, place, end - at) {
                Some(step) => {
                    let end_of_node = step.units == self.tree.units(step.node);
                    if stops && !end_of_node && at + step.units < from {
                        return 0;
                    }
                    self.front(step.node, step.units, watch)
                }
                None if stops => {
                    // Undoes a split at the start of a missing span.
                    if nodes.is_empty() && node != NodeId::ROOT {
                        self.settle_one(node, watch);
                    }
                    return 0;
                }
                None if at == from && self.may_grow(node, missing) => {
                    self.tree.extend(node, pieces, place, to - from);
                    return to - from;
                }
                None => self.tree.add_child(node, pieces, place, end - at, M::default()),
            };
            if at >= from {
                nodes.push(next);
            }
            let units = self.tree.units(next);
            at += units;
            place = place.advanced(pieces, units * unit);
            node = next;
        }
        0
    }

    fn may_grow(&self, node: NodeId, missing: &Missing<'_, M>) -> bool {
        let Missing::Append(mark) = *missing else { return false };
        node != NodeId::ROOT && self.tree.children(node) == 0 && self.tree.payload(node) == mark
    }

    /// First `units` blocks of a node.
    pub(super) fn front(&mut self, node: NodeId, units: u32, watch: &mut impl Watch<M>) -> NodeId {
        if units == self.tree.units(node) {
            return node;
        }
        let upper = self.tree.split(node, units, |mark| mark.clone());
        watch.split(&self.tree, upper, node);
        upper
    }

    /// Removes empty leaves, and merges neighbours with equal marks and no branch. `nodes` are the
    /// changed extents in order from the root.
    pub(super) fn settle(&mut self, nodes: &[NodeId], watch: &mut impl Watch<M>) {
        for node in nodes.iter().rev() {
            // An earlier round may have removed it.
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

    /// Merges an extent with its only child if marks are equal; returns that child.
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
