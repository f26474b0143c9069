//! A radix tree over symbolic prompts, at the granularity of a unit (block or chunk).
//!
//! A node is an *extent*, a run of whole units. The payload gives a node its meaning (references,
//! recency, replicas). A walk costs one step per piece, not per unit. One hash map for the whole
//! tree, keyed by parent and a fingerprint of the child's first unit, finds children: a node with a
//! thousand children costs no more than one with two.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use smallvec::SmallVec;

use crate::prompt::{Piece, push_piece};

/// Ids of removed nodes are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The empty prefix. It is never removed.
    pub const ROOT: Self = Self(0);

    /// Dense, for side tables.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    pub const fn from_index(index: u32) -> Self {
        Self(index)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    piece: u32,
    offset: u32,
}

impl Position {
    /// # Panics
    /// If the pieces end before.
    #[must_use]
    pub fn advanced(self, pieces: &[Piece], tokens: u32) -> Self {
        let mut place = self;
        let mut left = tokens;
        while left > 0 {
            let room = pieces[place.piece as usize].len - place.offset;
            if left < room {
                place.offset += left;
                return place;
            }
            left -= room;
            place.piece += 1;
            place.offset = 0;
        }
        place
    }
}

fn tail_pieces(pieces: &[Piece], at: Position) -> impl Iterator<Item = Piece> + '_ {
    pieces[at.piece as usize..].iter().enumerate().map(move |(index, piece)| {
        let skip = if index == 0 { at.offset } else { 0 };
        Piece { content: piece.content, start: piece.start + skip, len: piece.len - skip }
    })
}

/// The keys are fingerprints already.
#[derive(Debug, Clone, Copy, Default)]
pub struct FingerprintHasher(u64);

impl Hasher for FingerprintHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = mix(self.0 ^ value);
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

type ChildMap = HashMap<(u32, u64), NodeId, BuildHasherDefault<FingerprintHasher>>;
type Label = SmallVec<[Piece; 2]>;

#[derive(Debug, Clone)]
struct Node<P> {
    parent: NodeId,
    /// Canonical pieces of exactly `units` units.
    label: Label,
    units: u32,
    start: u32,
    /// Key in the child map under `parent`.
    fingerprint: u64,
    children: u32,
    /// Exclusive or of the children's ids: of one child, its id.
    child_ids: u32,
    payload: P,
}

/// The root carries `P::default()`.
#[derive(Debug, Clone)]
pub struct PrefixTree<P> {
    nodes: Vec<Node<P>>,
    free: Vec<NodeId>,
    children: ChildMap,
    unit_tokens: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeStep {
    pub node: NodeId,
    /// Common with the sequence; at least 1.
    pub units: u32,
}

impl<P: Default> PrefixTree<P> {
    /// # Panics
    /// If a unit has no tokens.
    pub fn new(unit_tokens: u32) -> Self {
        assert!(unit_tokens > 0, "a unit has at least one token");
        let root = Node {
            parent: NodeId::ROOT,
            label: Label::new(),
            units: 0,
            start: 0,
            fingerprint: 0,
            children: 0,
            child_ids: 0,
            payload: P::default(),
        };
        Self { nodes: vec![root], free: Vec::new(), children: ChildMap::default(), unit_tokens }
    }

    pub fn clear(&mut self) {
        *self = Self::new(self.unit_tokens);
    }
}

impl<P> PrefixTree<P> {
    pub const fn unit_tokens(&self) -> u32 {
        self.unit_tokens
    }

    pub fn payload(&self, node: NodeId) -> &P {
        &self.nodes[node.index()].payload
    }

    pub fn payload_mut(&mut self, node: NodeId) -> &mut P {
        &mut self.nodes[node.index()].payload
    }

    pub fn units(&self, node: NodeId) -> u32 {
        self.nodes[node.index()].units
    }

    pub fn start_units(&self, node: NodeId) -> u32 {
        self.nodes[node.index()].start
    }

    pub fn end_units(&self, node: NodeId) -> u32 {
        let node = &self.nodes[node.index()];
        node.start + node.units
    }

    /// The root's parent is the root.
    pub fn parent(&self, node: NodeId) -> NodeId {
        self.nodes[node.index()].parent
    }

    pub fn children(&self, node: NodeId) -> u32 {
        self.nodes[node.index()].children
    }

    pub fn only_child(&self, node: NodeId) -> Option<NodeId> {
        let node = &self.nodes[node.index()];
        (node.children == 1).then_some(NodeId(node.child_ids))
    }

    /// False for the root and for removed nodes.
    pub fn is_extent(&self, node: NodeId) -> bool {
        self.nodes[node.index()].units > 0
    }

    /// All nodes but the root, in a reproducible order.
    pub fn extents(&self) -> impl Iterator<Item = NodeId> + '_ {
        (0..self.nodes.len() as u32).map(NodeId).filter(|node| self.is_extent(*node))
    }

    /// Includes the root.
    pub fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 1
    }

    pub fn path(&self, node: NodeId) -> Vec<Piece> {
        let mut chain = SmallVec::<[NodeId; 16]>::new();
        let mut at = node;
        while at != NodeId::ROOT {
            chain.push(at);
            at = self.parent(at);
        }
        let mut pieces = Vec::with_capacity(chain.len() + 1);
        for node in chain.into_iter().rev() {
            for piece in &self.nodes[node.index()].label {
                push_piece(&mut pieces, *piece);
            }
        }
        pieces
    }

    /// None when fewer tokens are left.
    fn fingerprint(&self, pieces: &[Piece], at: Position) -> Option<u64> {
        let mut left = self.unit_tokens;
        let mut hash = 0u64;
        if at.piece as usize >= pieces.len() {
            return None;
        }
        for piece in tail_pieces(pieces, at) {
            let len = piece.len.min(left);
            hash = mix(hash ^ piece.content.0);
            hash = mix(hash ^ (u64::from(piece.start) << 32 | u64::from(len)));
            left -= len;
            if left == 0 {
                return Some(hash);
            }
        }
        None
    }

    /// The child of `node` that the sequence enters at `at`, compared over at most `limit` units.
    pub fn enter(
        &self,
        node: NodeId,
        pieces: &[Piece],
        at: Position,
        limit: u32,
    ) -> Option<TreeStep> {
        if limit == 0 || self.nodes[node.index()].children == 0 {
            return None;
        }
        let fingerprint = self.fingerprint(pieces, at)?;
        let child = *self.children.get(&(node.0, fingerprint))?;
        let units = self.common_units(child, pieces, at).min(limit);
        debug_assert!(units > 0, "two units with one fingerprint");
        (units > 0).then_some(TreeStep { node: child, units })
    }

    fn common_units(&self, node: NodeId, pieces: &[Piece], at: Position) -> u32 {
        let mut common = 0u32;
        let mut ours = self.nodes[node.index()].label.iter().copied();
        let mut theirs = tail_pieces(pieces, at);
        let (mut a, mut b) = (ours.next(), theirs.next());
        while let (Some(x), Some(y)) = (a, b) {
            if x.content != y.content || x.start != y.start {
                break;
            }
            let len = x.len.min(y.len);
            common += len;
            a = rest(x, len).or_else(|| ours.next());
            b = rest(y, len).or_else(|| theirs.next());
        }
        common / self.unit_tokens
    }

    /// `units` of the sequence at `at`. The caller makes sure that `enter` finds no child.
    pub fn add_child(
        &mut self,
        parent: NodeId,
        pieces: &[Piece],
        at: Position,
        units: u32,
        payload: P,
    ) -> NodeId {
        let fingerprint =
            self.fingerprint(pieces, at).expect("the caller asked for whole units of the sequence");
        let node = Node {
            parent,
            label: cut(pieces, at, units * self.unit_tokens),
            units,
            start: self.end_units(parent),
            fingerprint,
            children: 0,
            child_ids: 0,
            payload,
        };
        let id = self.insert(node);
        self.link(parent, fingerprint, id);
        id
    }

    /// The node must have no children.
    pub fn extend(&mut self, node: NodeId, pieces: &[Piece], at: Position, units: u32) {
        debug_assert_eq!(self.children(node), 0);
        let more = cut(pieces, at, units * self.unit_tokens);
        let node = &mut self.nodes[node.index()];
        append(&mut node.label, more);
        node.units += units;
    }

    /// Cuts the node after its first `at` units. The node keeps the rest, its id and its children;
    /// the returned new parent takes the front, with the payload of `divide`.
    pub fn split(&mut self, node: NodeId, at: u32, divide: impl FnOnce(&mut P) -> P) -> NodeId {
        let tokens = at * self.unit_tokens;
        let lower = &mut self.nodes[node.index()];
        assert!(at > 0 && at < lower.units, "a split leaves units on both sides");
        let label = std::mem::take(&mut lower.label);
        let upper_label = cut(&label, Position::default(), tokens);
        let lower_at = Position::default().advanced(&label, tokens);
        lower.label = tail_pieces(&label, lower_at).collect();
        let (parent, fingerprint, start) = (lower.parent, lower.fingerprint, lower.start);
        lower.units -= at;
        lower.start += at;
        let payload = divide(&mut lower.payload);
        let upper = self.insert(Node {
            parent,
            label: upper_label,
            units: at,
            start,
            fingerprint,
            children: 0,
            child_ids: 0,
            payload,
        });
        self.children.insert((parent.0, fingerprint), upper);
        self.nodes[parent.index()].child_ids ^= node.0 ^ upper.0;
        let label = std::mem::take(&mut self.nodes[node.index()].label);
        let own = self.fingerprint(&label, Position::default()).expect("the rest has a unit");
        let lower = &mut self.nodes[node.index()];
        lower.label = label;
        lower.fingerprint = own;
        self.link(upper, own, node);
        self.nodes[node.index()].parent = upper;
        upper
    }

    /// Keeps the first `units` units (at least 1). The node must have no children.
    pub fn truncate(&mut self, node: NodeId, units: u32) {
        debug_assert_eq!(self.children(node), 0);
        let node = &mut self.nodes[node.index()];
        assert!(units > 0 && units <= node.units, "a node keeps at least one unit");
        let mut excess = (node.units - units) * self.unit_tokens;
        while let Some(last) = node.label.last_mut().filter(|_| excess > 0) {
            let gone = last.len.min(excess);
            last.len -= gone;
            excess -= gone;
            if last.len == 0 {
                node.label.pop();
            }
        }
        node.units = units;
    }

    /// The node must have no children.
    pub fn remove(&mut self, node: NodeId) -> P
    where
        P: Default,
    {
        assert!(node != NodeId::ROOT && self.children(node) == 0, "only a leaf can be removed");
        let removed = &mut self.nodes[node.index()];
        let (parent, fingerprint) = (removed.parent, removed.fingerprint);
        removed.label = Label::new();
        removed.units = 0;
        let payload = std::mem::take(&mut removed.payload);
        self.children.remove(&(parent.0, fingerprint));
        self.nodes[parent.index()].children -= 1;
        self.nodes[parent.index()].child_ids ^= node.0;
        self.free.push(node);
        payload
    }

    /// Joins a node with its only child, undoing a split: the child keeps its id and payload.
    /// Returns the child and the node's payload.
    ///
    /// # Panics
    /// If the node is the root or does not have exactly one child.
    pub fn merge_into_child(&mut self, node: NodeId) -> (NodeId, P)
    where
        P: Default,
    {
        assert!(node != NodeId::ROOT, "the root has no units to hand on");
        let child = self.only_child(node).expect("only a node with one child can be merged");
        let upper = &mut self.nodes[node.index()];
        let mut label = std::mem::take(&mut upper.label);
        let payload = std::mem::take(&mut upper.payload);
        let (parent, start, units) = (upper.parent, upper.start, upper.units);
        let fingerprint = upper.fingerprint;
        upper.units = 0;
        upper.children = 0;
        upper.child_ids = 0;
        let lower = &mut self.nodes[child.index()];
        append(&mut label, std::mem::take(&mut lower.label));
        let own = lower.fingerprint;
        lower.label = label;
        lower.units += units;
        lower.start = start;
        lower.parent = parent;
        lower.fingerprint = fingerprint;
        self.children.remove(&(node.0, own));
        self.children.insert((parent.0, fingerprint), child);
        self.nodes[parent.index()].child_ids ^= node.0 ^ child.0;
        self.free.push(node);
        (child, payload)
    }

    fn insert(&mut self, node: Node<P>) -> NodeId {
        if let Some(id) = self.free.pop() {
            self.nodes[id.index()] = node;
            id
        } else {
            self.nodes.push(node);
            NodeId((self.nodes.len() - 1) as u32)
        }
    }

    fn link(&mut self, parent: NodeId, fingerprint: u64, child: NodeId) {
        let before = self.children.insert((parent.0, fingerprint), child);
        debug_assert!(before.is_none(), "the caller looked for this child before adding it");
        self.nodes[parent.index()].children += 1;
        self.nodes[parent.index()].child_ids ^= child.0;
    }
}

/// Appends pieces to a label, merging at the seam.
fn append(label: &mut Label, more: Label) {
    if more.len() > 1 {
        label.reserve(more.len());
    }
    for piece in more {
        match label.last_mut() {
            Some(last) if last.continues_into(&piece) => last.len += piece.len,
            _ => label.push(piece),
        }
    }
}

fn rest(piece: Piece, len: u32) -> Option<Piece> {
    (piece.len > len).then_some(Piece {
        content: piece.content,
        start: piece.start + len,
        len: piece.len - len,
    })
}

fn cut(pieces: &[Piece], at: Position, tokens: u32) -> Label {
    let mut label = Label::new();
    let mut left = tokens;
    if left == 0 {
        return label;
    }
    for piece in tail_pieces(pieces, at) {
        let len = piece.len.min(left);
        label.push(Piece { len, ..piece });
        left -= len;
        if left == 0 {
            break;
        }
    }
    debug_assert_eq!(left, 0, "the sequence is shorter than the units asked for");
    label
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::{ContentId, Prompt};

    fn sequence(parts: &[(u64, u32)]) -> Prompt {
        Prompt::new(parts.iter().map(|(content, len)| Piece::new(ContentId(*content), *len)))
    }

    fn start() -> Position {
        Position::default()
    }

    #[test]
    fn a_sequence_is_followed_to_the_last_whole_unit() {
        let mut tree: PrefixTree<u8> = PrefixTree::new(16);
        let first = sequence(&[(1, 100), (2, 60)]);
        let node = tree.add_child(NodeId::ROOT, first.pieces(), start(), 10, 7);
        // 100 tokens of content 1 agree, hence 6 whole units.
        let second = sequence(&[(1, 100), (3, 60)]);
        let step = tree.enter(NodeId::ROOT, second.pieces(), start(), 99);
        assert_eq!(step, Some(TreeStep { node, units: 6 }));
        let other = sequence(&[(9, 100)]);
        assert_eq!(tree.enter(NodeId::ROOT, other.pieces(), start(), 99), None);
        let short = sequence(&[(1, 15)]);
        assert_eq!(tree.enter(NodeId::ROOT, short.pieces(), start(), 99), None);
    }

    #[test]
    fn a_split_keeps_the_lower_id_and_all_paths() {
        let mut tree: PrefixTree<u8> = PrefixTree::new(16);
        let first = sequence(&[(1, 100), (2, 60)]);
        let node = tree.add_child(NodeId::ROOT, first.pieces(), start(), 10, 7);
        let upper = tree.split(node, 6, |lower| *lower + 1);
        assert_eq!((*tree.payload(upper), *tree.payload(node)), (8, 7));
        assert_eq!((tree.units(upper), tree.units(node), tree.start_units(node)), (6, 4, 6));
        assert_eq!(tree.path(node), first.pieces());
        // A second branch in the same unit of which the first 4 tokens agree.
        let second = sequence(&[(1, 100), (3, 60)]);
        let at = start().advanced(second.pieces(), 96);
        assert_eq!(tree.enter(upper, second.pieces(), at, 99), None);
        let branch = tree.add_child(upper, second.pieces(), at, 4, 1);
        assert_eq!(tree.path(branch), second.pieces());
        assert_eq!(
            tree.enter(upper, second.pieces(), at, 99),
            Some(TreeStep { node: branch, units: 4 })
        );
        tree.remove(branch);
        tree.truncate(node, 2);
        assert_eq!(tree.end_units(node), 8);
        tree.remove(node);
        tree.remove(upper);
        assert!(tree.is_empty());
    }

    #[test]
    fn extension_equals_one_long_node() {
        let mut tree: PrefixTree<()> = PrefixTree::new(16);
        let whole = sequence(&[(1, 320)]);
        let node = tree.add_child(NodeId::ROOT, whole.pieces(), start(), 5, ());
        tree.extend(node, whole.pieces(), start().advanced(whole.pieces(), 80), 15);
        assert_eq!(tree.path(node), whole.pieces());
        assert_eq!(tree.units(node), 20);
    }

    #[test]
    fn a_merge_undoes_a_split() {
        let mut tree: PrefixTree<u8> = PrefixTree::new(16);
        let whole = sequence(&[(1, 100), (2, 60)]);
        let node = tree.add_child(NodeId::ROOT, whole.pieces(), start(), 10, 7);
        let upper = tree.split(node, 6, |lower| *lower);
        let branch = sequence(&[(1, 100), (3, 60)]);
        let at = start().advanced(branch.pieces(), 96);
        let side = tree.add_child(upper, branch.pieces(), at, 4, 1);
        assert_eq!(tree.only_child(upper), None);
        assert_eq!(tree.only_child(NodeId::ROOT), Some(upper));
        assert_eq!(tree.extents().count(), 3);
        tree.remove(side);
        assert_eq!(tree.only_child(upper), Some(node));
        assert_eq!(tree.merge_into_child(upper), (node, 7));
        assert!(!tree.is_extent(upper));
        assert_eq!((tree.start_units(node), tree.units(node), tree.len()), (0, 10, 2));
        assert_eq!(tree.path(node), whole.pieces());
        assert_eq!(tree.only_child(NodeId::ROOT), Some(node));
        let step = tree.enter(NodeId::ROOT, whole.pieces(), start(), 99);
        assert_eq!(step, Some(TreeStep { node, units: 10 }));
        tree.remove(node);
        assert!(tree.is_empty());
    }
}
