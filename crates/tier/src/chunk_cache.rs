//! Which chunks a tier holds: presence, pins and eviction, kept by runs of chunks.
//!
//! A run is a span of chunks that were used together; it has one state, one pin count and one
//! place in the order of use, and is evicted from its tail. Using a prefix makes all its chunks
//! recent, the first most (vLLM and LMCache touch a request's keys in reverse order), so plain LRU
//! always evicts the end of a chain first.
//!
//! A chunk is *pending* between [`ChunkCache::reserve`] and [`ChunkCache::commit`]: it takes room
//! and is pinned, but cannot be read yet.

use smallvec::SmallVec;
use weir_model::Piece;
use weir_model::prefix_tree::{NodeId, Position, PrefixTree, Step};

use crate::config::EvictionPolicy;
use crate::order::{Order, Queue};

/// What a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Presence {
    /// Not here. Kept only while something below it is.
    #[default]
    Absent,
    /// Its bytes are on their way in.
    Pending,
    /// It can be read.
    Ready,
}

#[derive(Debug, Clone, Default)]
struct Run {
    presence: Presence,
    /// Transfers that read or write it.
    pins: u32,
    /// The queue it stands in.
    queue: Option<Queue>,
}

/// Result of a lookup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Consecutive chunks that can be read.
    pub chunks: u32,
    /// The next one is on its way in: asking again later may find more.
    pub pending: bool,
}

/// Result of a reservation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reserved {
    /// First chunk that became pending.
    pub from: u32,
    /// End of the last one; give both to [`ChunkCache::commit`] or [`ChunkCache::cancel`].
    pub to: u32,
    /// Chunks that became pending: those that must be transferred.
    pub chunks: u32,
    /// Chunks that found no room.
    pub refused: u32,
    /// Chunks that were evicted to make room.
    pub evicted: u32,
}

/// Chunks that were evicted: a span of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// The pieces from the first token of the sequence to the end of the span.
    pub path: Vec<Piece>,
    /// First chunk that went.
    pub from_chunk: u32,
    /// End.
    pub to_chunk: u32,
}

/// The chunks of one tier.
#[derive(Debug, Clone)]
pub struct ChunkCache {
    tree: PrefixTree<Run>,
    order: Order,
    capacity: u32,
    used: u32,
    evicted: u64,
    /// What was evicted since the last look, where somebody keeps the bytes.
    log: Option<Vec<Eviction>>,
}

impl ChunkCache {
    /// A tier of `capacity` chunks of `chunk_tokens` tokens.
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

    /// Keeps each eviction from now on for [`ChunkCache::take_evictions`]: whoever has the bytes
    /// must let go of the same chunks.
    pub fn log_evictions(&mut self) {
        self.log.get_or_insert_default();
    }

    /// Evictions since the last call, in the order in which they happened. Nothing unless they
    /// are logged.
    pub fn take_evictions(&mut self) -> Vec<Eviction> {
        self.log.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Chunks it may hold.
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Chunks it holds, pending ones included.
    pub const fn used(&self) -> u32 {
        self.used
    }

    /// Chunks evicted so far.
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Tokens per chunk.
    pub const fn chunk_tokens(&self) -> u32 {
        self.tree.unit_tokens()
    }

    /// Consecutive chunks of the sequence from chunk `from` on, up to `limit` in all (counted
    /// from the start of the sequence).
    pub fn lookup(&self, sequence: &[Piece], from: u32, limit: u32) -> Found {
        let mut found = Found::default();
        let mut walk = Walk::new(sequence, limit);
        while let Some(step) = walk.next(&self.tree) {
            if walk.end <= from {
                continue;
            }
            let new = walk.end - (walk.end - step.units).max(from);
            match self.tree.payload(step.node).presence {
                Presence::Ready => found.chunks += new,
                Presence::Pending => {
                    found.pending = true;
                    return found;
                }
                Presence::Absent => return found,
            }
        }
        found
    }

    /// Marks the first `chunks` chunks of the sequence as used now.
    pub fn touch(&mut self, sequence: &[Piece], chunks: u32) {
        let path = self.path_to(sequence, chunks);
        self.touch_path(&path);
    }

    fn touch_path(&mut self, path: &[NodeId]) {
        for node in path.iter().rev() {
            let units = self.tree.units(*node);
            let run = self.tree.payload_mut(*node);
            run.queue = self.order.touched(node.index() as u32, units, run.queue);
        }
    }

    /// Makes room for those of the chunks `from..to` that are not here and marks them pending and
    /// pinned; the whole chain counts as used. Stops at the first that finds no room (chunks
    /// behind a hole could not be found) and, once it has some, at one that is here already.
    pub fn reserve(&mut self, sequence: &[Piece], from: u32, to: u32) -> Reserved {
        let mut reserved = Reserved { from: to, to: from, ..Reserved::default() };
        if from >= to {
            return reserved;
        }
        self.path_to(sequence, from);
        // Nothing of this chain may be evicted to make room for its own end.
        self.pin(sequence, to, true);
        let mut new: SmallVec<[NodeId; 4]> = SmallVec::new();
        let mut walk = Walk::new(sequence, to);
        while walk.end < to {
            let (parent, at, start) = (walk.node, walk.at, walk.end);
            let (wanted, known) = match walk.next(&self.tree) {
                Some(step) if walk.end <= from => {
                    debug_assert_eq!(step.units, self.tree.units(step.node));
                    continue;
                }
                Some(step) => match self.tree.payload(step.node).presence {
                    Presence::Absent => (step.units, Some(step.node)),
                    // The span stays in one piece: it must not settle another transfer's chunks,
                    // now or after this one was evicted and stored again.
                    Presence::Pending | Presence::Ready if reserved.chunks > 0 => break,
                    Presence::Pending | Presence::Ready => continue,
                },
                None if start < from => {
                    // The front was never stored here; what is stored now hangs below a hole.
                    let hole = Run { pins: 1, ..Run::default() };
                    self.tree.add_child(parent, sequence, at, from - start, hole);
                    continue;
                }
                None => (to - start, None),
            };
            let room = self.make_room(wanted, &mut reserved.evicted);
            if room > 0 {
                let node = if let Some(node) = known {
                    self.front(node, room)
                } else {
                    let run = Run { pins: 1, ..Run::default() };
                    self.tree.add_child(parent, sequence, at, room, run)
                };
                self.tree.payload_mut(node).presence = Presence::Pending;
                self.enter(node, room);
                new.push(node);
                reserved.chunks += room;
                reserved.from = reserved.from.min(start);
                reserved.to = start + room;
            }
            if room < wanted || known.is_none() {
                reserved.refused = to - start - room;
                break;
            }
        }
        let path = self.path_to(sequence, to);
        for node in &path {
            if !new.contains(node) {
                self.tree.payload_mut(*node).pins -= 1;
            }
        }
        self.touch_path(&path);
        self.prune(sequence, to);
        self.trim_ghosts();
        reserved
    }

    /// The pending chunks among `from..to` can be read from now on.
    pub fn commit(&mut self, sequence: &[Piece], from: u32, to: u32) {
        self.settle(sequence, from, to, true);
    }

    /// The pending chunks among `from..to` failed to come in and are dropped.
    pub fn cancel(&mut self, sequence: &[Piece], from: u32, to: u32) {
        self.settle(sequence, from, to, false);
    }

    /// Forgets those of the chunks `from..to` that can be read and are not in use: their bytes
    /// turned out to be gone. No eviction, hence not logged.
    pub fn forget(&mut self, sequence: &[Piece], from: u32, to: u32) {
        self.path_to(sequence, from);
        for node in self.path_to(sequence, to) {
            let run = self.tree.payload(node);
            let is_idle = run.presence == Presence::Ready && run.pins == 0;
            if self.tree.start_units(node) >= from && is_idle {
                self.drop_run(node);
            }
        }
        self.prune(sequence, to);
    }

    /// Protects the first `chunks` chunks from eviction until [`ChunkCache::unpin`].
    pub fn pin_read(&mut self, sequence: &[Piece], chunks: u32) {
        self.pin(sequence, chunks, true);
    }

    /// Ends the protection of [`ChunkCache::pin_read`].
    pub fn unpin(&mut self, sequence: &[Piece], chunks: u32) {
        self.pin(sequence, chunks, false);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.tree.clear();
        self.order.clear();
        self.used = 0;
    }

    fn pin(&mut self, sequence: &[Piece], chunks: u32, up: bool) {
        for node in self.path_to(sequence, chunks) {
            let run = self.tree.payload_mut(node);
            run.pins = if up { run.pins + 1 } else { run.pins.saturating_sub(1) };
        }
    }

    fn settle(&mut self, sequence: &[Piece], from: u32, to: u32, arrived: bool) {
        self.path_to(sequence, from);
        for node in self.path_to(sequence, to) {
            let start = self.tree.start_units(node);
            let run = self.tree.payload_mut(node);
            if start < from || run.presence != Presence::Pending {
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

    /// Counts a run as held and gives it its place in the order of use.
    fn enter(&mut self, node: NodeId, units: u32) {
        self.used += units;
        let run = self.tree.payload_mut(node);
        run.queue = Some(self.order.entered(node.index() as u32, units, run.queue));
    }

    /// Evicts until `wanted` chunks fit, or nothing more can go; returns how many fit.
    fn make_room(&mut self, wanted: u32, evicted: &mut u32) -> u32 {
        while self.capacity - self.used < wanted {
            let missing = wanted - (self.capacity - self.used);
            let Some(gone) = self.evict(missing) else { break };
            *evicted += gone;
        }
        wanted.min(self.capacity - self.used)
    }

    /// Evicts up to `wanted` chunks of one run.
    fn evict(&mut self, wanted: u32) -> Option<u32> {
        let tree = &self.tree;
        let victim = self.order.victim(|index| {
            let run = tree.payload(NodeId::from_index(index));
            run.pins == 0 && run.presence == Presence::Ready
        })?;
        let node = NodeId::from_index(victim.index);
        let units = self.tree.units(node);
        let taken = units.min(wanted).min(victim.at_most);
        if taken < units {
            // The node keeps the rest of the run, which is what goes.
            self.front(node, units - taken);
        }
        if let Some(log) = &mut self.log {
            log.push(Eviction {
                path: self.tree.path(node),
                from_chunk: self.tree.start_units(node),
                to_chunk: self.tree.end_units(node),
            });
        }
        let run = self.tree.payload_mut(node);
        run.presence = Presence::Absent;
        run.queue = self.order.evicted(victim.index, taken, run.queue);
        self.used -= taken;
        self.evicted += u64::from(taken);
        self.remove_dead(node);
        Some(taken)
    }

    fn drop_run(&mut self, node: NodeId) {
        let units = self.tree.units(node);
        let run = self.tree.payload_mut(node);
        run.presence = Presence::Absent;
        run.queue = self.order.dropped(node.index() as u32, units, run.queue);
        self.used -= units;
    }

    /// Ghosts beyond the policy's limit are forgotten, once a store has made its room: not
    /// earlier, because cutting a ghost may cut a run that the store is looking at.
    fn trim_ghosts(&mut self) {
        while let Some((index, surplus)) = self.order.surplus_ghost() {
            let node = NodeId::from_index(index);
            let units = self.tree.units(node).min(surplus);
            if units < self.tree.units(node) {
                self.front(node, self.tree.units(node) - units);
            }
            let run = self.tree.payload_mut(node);
            run.queue = self.order.dropped(index, units, run.queue);
            self.remove_dead(node);
        }
    }

    /// Removes a node that stands for nothing any more, and those above that stood only for it.
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

    /// Nodes of the first `chunks` chunks, as far as they are known, cut to end there.
    fn path_to(&mut self, sequence: &[Piece], chunks: u32) -> Vec<NodeId> {
        let mut path = Vec::new();
        let mut walk = Walk::new(sequence, chunks);
        while let Some(step) = walk.next(&self.tree) {
            path.push(self.front(step.node, step.units));
        }
        path
    }

    /// The node of the first `units` units of a node, split off where needed.
    fn front(&mut self, node: NodeId, units: u32) -> NodeId {
        if units == self.tree.units(node) {
            return node;
        }
        let upper = self.tree.split(node, units, |run| run.clone());
        let queue = self.tree.payload(upper).queue;
        self.order.divided(node.index() as u32, upper.index() as u32, queue);
        upper
    }
}

/// A walk of a sequence down the tree.
struct Walk<'a> {
    sequence: &'a [Piece],
    at: Position,
    node: NodeId,
    /// Units walked.
    end: u32,
    limit: u32,
    over: bool,
}

impl<'a> Walk<'a> {
    fn new(sequence: &'a [Piece], limit: u32) -> Self {
        let (at, node) = (Position::default(), NodeId::ROOT);
        Self { sequence, at, node, end: 0, limit, over: false }
    }

    fn next<P>(&mut self, tree: &PrefixTree<P>) -> Option<Step> {
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
