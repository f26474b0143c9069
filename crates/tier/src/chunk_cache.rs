//! The chunks of a tier: presence, pins and eviction, kept by runs of chunks.
//!
//! A run is a span of chunks that were stored or used together; it has one state, one pin count and
//! one place in the order of use. Stored and unused chunks leave head first, in their order of
//! arrival. A use renews a span's chunks from the tail to the head (vLLM and LMCache touch keys in
//! reverse order), so plain LRU evicts the end of a used chain first.
//!
//! A chunk is *pending* between [`ChunkCache::reserve`] and [`ChunkCache::commit`]: it takes room
//! and is pinned, but cannot be read yet.

use smallvec::SmallVec;
use weir_model::Piece;
use weir_model::prefix_tree::{NodeId, Position, PrefixTree, TreeStep};

use crate::config::EvictionPolicy;
use crate::order::{Order, PolicyQueue};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Presence {
    /// Kept only while a node below it exists.
    #[default]
    Absent,
    /// Its bytes are in transfer.
    Pending,
    Ready,
}

#[derive(Debug, Clone, Default)]
struct Run {
    presence: Presence,
    /// Transfers that read or write it.
    pins: u32,
    queue: Option<PolicyQueue>,
    /// Its head leaves first: stored, and not used since.
    head_first: bool,
}

impl Run {
    const fn may_go(&self) -> bool {
        self.pins == 0 && matches!(self.presence, Presence::Ready)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSpan {
    pub from: u32,
    pub to: u32,
}

impl ChunkSpan {
    pub const fn chunks(self) -> u32 {
        self.to - self.from
    }

    pub const fn contains(self, chunk: u32) -> bool {
        self.from <= chunk && chunk < self.to
    }
}

/// In the order of the sequence, with gaps between them.
pub type Spans = SmallVec<[ChunkSpan; 2]>;

/// The stored part if not all missing chunks find room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Nothing, and nothing is evicted (vLLM's offloading).
    Whole,
    /// The front that finds room.
    Front,
    /// All or nothing, without eviction (LMCache's server, which evicts by the clock).
    Free,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Consecutive readable chunks.
    pub chunks: u32,
    /// The next one is in transfer: a later lookup may find more.
    pub pending: bool,
    pub reading: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Chunks that became pending and must be transferred. Pass each span to [`ChunkCache::commit`]
    /// or [`ChunkCache::cancel`].
    pub spans: Spans,
    pub refused: u32,
    pub evicted: u32,
}

impl Reserved {
    pub fn chunks(&self) -> u32 {
        self.spans.iter().map(|span| span.chunks()).sum()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// The pieces from the first token of the sequence to the end of the span.
    pub path: Vec<Piece>,
    pub from_chunk: u32,
    pub to_chunk: u32,
}

#[derive(Debug, Clone)]
pub struct ChunkCache {
    tree: PrefixTree<Run>,
    order: Order,
    capacity: u32,
    used: u32,
    evicted: u64,
    log: Option<Vec<Eviction>>,
}

impl ChunkCache {
    pub fn new(capacity: u32, chunk_tokens: u32, policy: EvictionPolicy) -> Self {
        Self {
            tree: PrefixTree::new(chunk_tokens),
            order: Order::new(policy, capacity),
            capacity,
            used: 0,
            evicted: 0,
            log: None,
        }
    }

    /// For the owner of the bytes, who must drop the same chunks.
    pub fn log_evictions(&mut self) {
        self.log.get_or_insert_default();
    }

    /// Evictions since the last call, in order. Empty unless logged.
    pub fn take_evictions(&mut self) -> Vec<Eviction> {
        self.log.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Chunks, pending ones included.
    pub const fn used(&self) -> u32 {
        self.used
    }

    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Consecutive chunks from `from` on; both bounds count from the start of the sequence.
    pub fn lookup(&self, sequence: &[Piece], from: u32, limit: u32) -> Found {
        let mut found = Found::default();
        let mut walk = Walk::new(sequence, limit);
        while let Some(step) = walk.next(&self.tree) {
            if walk.end <= from {
                continue;
            }
            let new = walk.end - (walk.end - step.units).max(from);
            match self.tree.payload(step.node).presence {
                Presence::Ready => {
                    found.chunks += new;
                    found.reading |= self.tree.payload(step.node).pins > 0;
                }
                Presence::Pending => {
                    found.pending = true;
                    return found;
                }
                Presence::Absent => return found,
            }
        }
        found
    }

    /// Consecutive missing chunks from `from` on, up to `limit`.
    pub fn gap(&self, sequence: &[Piece], from: u32, limit: u32) -> u32 {
        let mut walk = Walk::new(sequence, limit);
        while let Some(step) = walk.next(&self.tree) {
            let absent = self.tree.payload(step.node).presence == Presence::Absent;
            if walk.end > from && !absent {
                return (walk.end - step.units).saturating_sub(from);
            }
        }
        limit.saturating_sub(from)
    }

    /// Evicts up to this many chunks, in order; returns their number.
    pub fn evict_oldest(&mut self, chunks: u32) -> u32 {
        let mut gone = 0;
        while gone < chunks {
            let Some(more) = self.evict(chunks - gone) else { break };
            gone += more;
        }
        self.trim_ghosts();
        gone
    }

    /// Counts a use of the readable chunks among `from..to`. Chunks in `stored` were stored by the
    /// same user: they are renewed, and ARC does not count them as used again.
    pub fn touch(&mut self, sequence: &[Piece], from: u32, to: u32, stored: &[ChunkSpan]) {
        for edge in stored.iter().flat_map(|span| [span.from, span.to]) {
            self.path_to(sequence, edge.clamp(from, to));
        }
        for node in self.span_nodes(sequence, from, to).iter().rev() {
            let (start, units) = (self.tree.start_units(*node), self.tree.units(*node));
            let own = stored.iter().any(|span| span.contains(start));
            let run = self.tree.payload_mut(*node);
            let index = node.index() as u32;
            match run.presence {
                // The user that is storing them will report their use.
                Presence::Pending if !own => continue,
                Presence::Absent => continue,
                _ if own => self.order.renewed(index, units, run.queue),
                _ => run.queue = self.order.touched(index, units, run.queue),
            }
            run.head_first = false;
        }
    }

    /// Makes room for the missing chunks among `from..to`, marks them pending and pins them. It
    /// evicts none of the others among `from..to`.
    pub fn reserve(&mut self, sequence: &[Piece], from: u32, to: u32, fit: Fit) -> Reserved {
        let mut reserved = Reserved::default();
        let wanted = self.missing(sequence, from, to);
        if wanted == 0 {
            return reserved;
        }
        let mut room = wanted;
        if self.order.remembers() {
            self.learn(sequence, from, to);
        }
        if wanted > self.capacity - self.used {
            let kept = self.span_nodes(sequence, from, to);
            self.pin_nodes(&kept, true);
            room = self.make_room(wanted, fit, &mut reserved.evicted);
            self.pin_nodes(&kept, false);
            self.trim_ghosts();
        }
        self.insert(sequence, from, to, room, &mut reserved.spans);
        reserved.refused = wanted - room;
        reserved
    }

    fn missing(&self, sequence: &[Piece], from: u32, to: u32) -> u32 {
        let mut here = 0;
        let mut walk = Walk::new(sequence, to);
        while let Some(step) = walk.next(&self.tree) {
            let absent = self.tree.payload(step.node).presence == Presence::Absent;
            let counted = walk.end.saturating_sub(from).min(step.units);
            here += if absent { 0 } else { counted };
        }
        to.saturating_sub(from) - here
    }

    /// ARC learns from misses of its ghosts.
    fn learn(&mut self, sequence: &[Piece], from: u32, to: u32) {
        for node in self.span_nodes(sequence, from, to).iter().rev() {
            let units = self.tree.units(*node);
            let run = self.tree.payload_mut(*node);
            if run.presence == Presence::Absent {
                run.queue = self.order.touched(node.index() as u32, units, run.queue);
                run.head_first = false;
            }
        }
    }

    /// Makes the first `room` missing chunks among `from..to` pending.
    fn insert(&mut self, sequence: &[Piece], from: u32, to: u32, room: u32, spans: &mut Spans) {
        let mut left = room;
        self.path_to(sequence, from);
        let mut walk = Walk::new(sequence, to);
        while left > 0 {
            let (parent, at, start) = (walk.node, walk.at, walk.end);
            let (node, units) = match walk.next(&self.tree) {
                Some(_) if walk.end <= from => continue,
                Some(step) => {
                    // Split where the sequence diverges, so that the rest can become a child.
                    walk.node = self.front(step.node, step.units);
                    walk.over = false;
                    if self.tree.payload(walk.node).presence != Presence::Absent {
                        continue;
                    }
                    let units = step.units.min(left);
                    (self.front(walk.node, units), units)
                }
                None if start < from => {
                    // The front was never stored here; the new chunks are below a hole.
                    self.tree.add_child(parent, sequence, at, from - start, Run::default());
                    walk = Walk::new(sequence, to);
                    continue;
                }
                None => {
                    let units = (to - start).min(left);
                    (self.tree.add_child(parent, sequence, at, units, Run::default()), units)
                }
            };
            self.enter(node, units);
            left -= units;
            match spans.last_mut() {
                Some(last) if last.to == start => last.to += units,
                _ => spans.push(ChunkSpan { from: start, to: start + units }),
            }
        }
    }

    /// Makes the pending chunks among `from..to` readable.
    pub fn commit(&mut self, sequence: &[Piece], from: u32, to: u32) {
        self.settle(sequence, from, to, true);
    }

    /// Drops the pending chunks among `from..to` after a failed transfer.
    pub fn cancel(&mut self, sequence: &[Piece], from: u32, to: u32) {
        self.settle(sequence, from, to, false);
    }

    /// For chunks whose bytes are lost. This is no eviction, hence not logged.
    pub fn forget(&mut self, sequence: &[Piece], from: u32, to: u32) {
        for node in self.span_nodes(sequence, from, to) {
            let run = self.tree.payload(node);
            if run.presence == Presence::Ready && run.pins == 0 {
                self.drop_run(node);
            }
        }
        self.prune(sequence, to);
    }

    /// The chunks must be present; ends with [`ChunkCache::unpin`].
    pub fn pin_read(&mut self, sequence: &[Piece], from: u32, to: u32) {
        let nodes = self.span_nodes(sequence, from, to);
        self.pin_nodes(&nodes, true);
    }

    pub fn unpin(&mut self, sequence: &[Piece], from: u32, to: u32) {
        let nodes = self.span_nodes(sequence, from, to);
        self.pin_nodes(&nodes, false);
    }

    pub fn clear(&mut self) {
        self.tree.clear();
        self.order.clear();
        self.used = 0;
    }

    fn pin_nodes(&mut self, nodes: &[NodeId], up: bool) {
        for node in nodes {
            let run = self.tree.payload_mut(*node);
            run.pins = if up { run.pins + 1 } else { run.pins.saturating_sub(1) };
        }
    }

    fn settle(&mut self, sequence: &[Piece], from: u32, to: u32, arrived: bool) {
        for node in self.span_nodes(sequence, from, to) {
            let run = self.tree.payload_mut(node);
            if run.presence != Presence::Pending {
                continue;
            }
            run.pins = run.pins.saturating_sub(1);
            if arrived {
                run.presence = Presence::Ready;
            } else {
                self.drop_run(node);
            }
        }
        self.prune(sequence, to);
    }

    /// A pending run counts as held, and has its place in the order of use.
    fn enter(&mut self, node: NodeId, units: u32) {
        self.used += units;
        let run = self.tree.payload_mut(node);
        run.presence = Presence::Pending;
        run.pins += 1;
        run.head_first = true;
        run.queue = Some(self.order.entered(node.index() as u32, units, run.queue));
    }

    /// Evicts until `wanted` chunks fit, which do not yet; returns how many fit.
    fn make_room(&mut self, wanted: u32, fit: Fit, evicted: &mut u32) -> u32 {
        let fits = match fit {
            Fit::Front => true,
            Fit::Whole => self.can_evict(wanted - (self.capacity - self.used)),
            Fit::Free => false,
        };
        if !fits {
            return 0;
        }
        while self.capacity - self.used < wanted {
            let missing = wanted - (self.capacity - self.used);
            let Some(gone) = self.evict(missing) else { break };
            *evicted += gone;
        }
        wanted.min(self.capacity - self.used)
    }

    /// True if this many chunks can be evicted.
    fn can_evict(&self, wanted: u32) -> bool {
        let mut found = 0;
        self.order.evictable().any(|index| {
            let node = NodeId::from_index(index);
            found += if self.tree.payload(node).may_go() { self.tree.units(node) } else { 0 };
            found >= wanted
        })
    }

    fn evict(&mut self, wanted: u32) -> Option<u32> {
        let tree = &self.tree;
        let may_go = |index| tree.payload(NodeId::from_index(index)).may_go();
        let victim = self.order.victim(may_go)?;
        let node = NodeId::from_index(victim.index);
        let taken = self.tree.units(node).min(wanted).min(victim.at_most);
        let node = self.first_to_leave(node, taken);
        if let Some(log) = &mut self.log {
            log.push(Eviction {
                path: self.tree.path(node),
                from_chunk: self.tree.start_units(node),
                to_chunk: self.tree.end_units(node),
            });
        }
        let run = self.tree.payload_mut(node);
        run.presence = Presence::Absent;
        run.queue = self.order.evicted(node.index() as u32, taken, run.queue);
        self.used -= taken;
        self.evicted += u64::from(taken);
        self.remove_dead(node);
        Some(taken)
    }

    /// The node of the `chunks` chunks of a run that leave first, split off if needed.
    fn first_to_leave(&mut self, node: NodeId, chunks: u32) -> NodeId {
        let all = self.tree.units(node);
        if self.tree.payload(node).head_first {
            return self.front(node, chunks);
        }
        if chunks < all {
            // The node keeps the end of the run, which leaves first.
            self.front(node, all - chunks);
        }
        node
    }

    fn drop_run(&mut self, node: NodeId) {
        let units = self.tree.units(node);
        let run = self.tree.payload_mut(node);
        run.presence = Presence::Absent;
        run.queue = self.order.dropped(node.index() as u32, units, run.queue);
        self.used -= units;
    }

    /// Drops ghosts beyond the policy's limit, after a store has made its room.
    fn trim_ghosts(&mut self) {
        while let Some((index, surplus)) = self.order.surplus_ghost() {
            let node = NodeId::from_index(index);
            let units = self.tree.units(node).min(surplus);
            let node = self.first_to_leave(node, units);
            let run = self.tree.payload_mut(node);
            run.queue = self.order.dropped(node.index() as u32, units, run.queue);
            self.remove_dead(node);
        }
    }

    /// Removes an absent leaf node, and its ancestors without another purpose.
    fn remove_dead(&mut self, node: NodeId) {
        let mut at = node;
        while at != NodeId::ROOT && self.tree.children(at) == 0 {
            let run = self.tree.payload(at);
            if run.presence != Presence::Absent || run.queue.is_some() || run.pins > 0 {
                return;
            }
            let parent = self.tree.parent(at);
            self.tree.remove(at);
            at = parent;
        }
    }

    fn prune(&mut self, sequence: &[Piece], chunks: u32) {
        if let Some(last) = self.path_to(sequence, chunks).last() {
            self.remove_dead(*last);
        }
    }

    /// Known nodes of the chunks `from..to`, split at both ends.
    fn span_nodes(&mut self, sequence: &[Piece], from: u32, to: u32) -> Vec<NodeId> {
        self.path_to(sequence, from.min(to));
        let mut nodes = self.path_to(sequence, to);
        nodes.retain(|node| self.tree.start_units(*node) >= from);
        nodes
    }

    /// Known nodes of the first `chunks` chunks, split at the end.
    fn path_to(&mut self, sequence: &[Piece], chunks: u32) -> Vec<NodeId> {
        let mut path = Vec::new();
        let mut walk = Walk::new(sequence, chunks);
        while let Some(step) = walk.next(&self.tree) {
            path.push(self.front(step.node, step.units));
        }
        path
    }

    /// The node of the first `units` units of a node, split off if needed.
    fn front(&mut self, node: NodeId, units: u32) -> NodeId {
        if units == self.tree.units(node) {
            return node;
        }
        let upper = self.tree.split(node, units, |run| run.clone());
        let run = self.tree.payload(upper);
        let (front, tail) = (upper.index() as u32, node.index() as u32);
        self.order.divided(tail, front, run.queue, run.head_first);
        upper
    }
}

struct Walk<'a> {
    sequence: &'a [Piece],
    at: Position,
    node: NodeId,
    end: u32,
    limit: u32,
    over: bool,
}

impl<'a> Walk<'a> {
    fn new(sequence: &'a [Piece], limit: u32) -> Self {
        let (at, node) = (Position::default(), NodeId::ROOT);
        Self { sequence, at, node, end: 0, limit, over: false }
    }

    fn next<P>(&mut self, tree: &PrefixTree<P>) -> Option<TreeStep> {
        if self.over {
            return None;
        }
        let step = tree.enter(self.node, self.sequence, self.at, self.limit - self.end)?;
        self.over = step.units < tree.units(step.node);
        self.end += step.units;
        self.node = step.node;
        self.at = self.at.advanced(self.sequence, step.units * tree.unit_tokens());
        Some(step)
    }
}
