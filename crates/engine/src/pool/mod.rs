//! The GPU's block pool, with vLLM's rules, kept by extents.
//!
//! vLLM's queue of free blocks gives blocks without a hash first, then hashed ones in the order
//! they were freed, a sequence's last block before its first. Here blocks filled, referenced and
//! freed together are one *extent* with one reference count and one place in that order. It is
//! split when a request shares only its front, and evicted from its tail. A 10,000-token prefix
//! shared by 500 sequences costs one step instead of 625.
//!
//! There are no block ids, as nothing observable depends on them. Blocks without a hash are a
//! number, because they always precede hashed ones in vLLM's queue.
//!
//! Two requests may compute the same content, which vLLM does not merge. Then a node of the tree
//! has several extents, its *copies*; a lookup takes the oldest, as vLLM does.

use smallvec::SmallVec;
use weir_model::prefix_tree::{NodeId, Position, PrefixTree};
use weir_model::{Piece, Prompt};
use weir_tier::recency::RecencyList;

/// One physical copy of a node's blocks. The generation distinguishes it from an earlier one in the
/// same slot, which the end of a [`Chain`] may still name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ExtentId {
    place: u32,
    generation: u32,
}

#[derive(Debug, Clone)]
struct Extent {
    node: NodeId,
    generation: u32,
    /// Includes holders of extents below.
    refs: u32,
    /// The previous extent in the sequence of the request that made it.
    upper: Option<ExtentId>,
}

/// Extents that a request holds: `tail`, its upper, and so on, excluding `until`. A request holds
/// one chain if it made all its blocks, several if it hit copies by different requests.
#[derive(Debug, Clone, Copy)]
struct Chain {
    tail: ExtentId,
    until: Option<ExtentId>,
}

type Copies = SmallVec<[ExtentId; 1]>;

/// Blocks of one request, from [`BlockPool::admit`] to [`BlockPool::release`].
#[derive(Debug, Clone, Default)]
pub struct Holding {
    /// From the front of the sequence to the end of its cached part. Usually one.
    chains: SmallVec<[Chain; 1]>,
    /// Node at the end of the cached part.
    node: NodeIdOrRoot,
    /// End of the cached part in the request's sequence.
    position: Position,
    cached: u32,
    /// Blocks held but not cached (yet).
    private: u32,
}

#[derive(Debug, Clone, Copy)]
struct NodeIdOrRoot(NodeId);

impl Default for NodeIdOrRoot {
    fn default() -> Self {
        Self(NodeId::ROOT)
    }
}

impl Holding {
    pub const fn blocks(&self) -> u32 {
        self.cached + self.private
    }

    /// Held blocks that others can hit.
    pub const fn cached_blocks(&self) -> u32 {
        self.cached
    }
}

/// Valid until the pool changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Leading cached blocks of the sequence.
    pub blocks: u32,
    /// Of these, not held by any request. Admission takes them from the free blocks.
    pub free_blocks: u32,
    tail: NodeId,
    /// Units of the tail's label in the hit.
    tail_units: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// From the first token to the end of the run or beyond it.
    pub path: Prompt,
    pub from_block: u32,
    pub to_block: u32,
}

#[derive(Debug, Clone)]
pub struct BlockPool {
    tree: PrefixTree<Copies>,
    extents: Vec<Extent>,
    vacant: Vec<u32>,
    /// Free extents, next eviction first.
    recency: RecencyList,
    total: u32,
    /// Free blocks without content.
    blank: u32,
    /// Free blocks with content.
    idle: u32,
    evicted: u64,
    /// If logged, since the last [`BlockPool::take_evictions`].
    log: Option<Vec<Eviction>>,
    /// The node of the last logged eviction and the path to its end at that time or later. Most
    /// evictions take one more block from the same node.
    last_path: Option<(NodeId, Prompt)>,
}

impl BlockPool {
    /// `log_evictions` is for [`BlockPool::take_evictions`].
    pub fn new(blocks: u32, block_tokens: u32, log_evictions: bool) -> Self {
        Self {
            tree: PrefixTree::new(block_tokens),
            extents: Vec::new(),
            vacant: Vec::new(),
            recency: RecencyList::default(),
            total: blocks,
            blank: blocks,
            idle: 0,
            evicted: 0,
            log: log_evictions.then(Vec::new),
            last_path: None,
        }
    }

    /// Includes cached blocks that no request holds.
    pub const fn free_blocks(&self) -> u32 {
        self.blank + self.idle
    }

    /// Each counted once.
    pub const fn used_blocks(&self) -> u32 {
        self.total - self.free_blocks()
    }

    pub const fn total_blocks(&self) -> u32 {
        self.total
    }

    pub const fn block_tokens(&self) -> u32 {
        self.tree.unit_tokens()
    }

    pub const fn evicted_blocks(&self) -> u64 {
        self.evicted
    }

    /// The number of extents, which bounds the cost of a step.
    pub fn extents(&self) -> usize {
        self.extents.len() - self.vacant.len()
    }

    /// In order; none if they are not logged.
    pub fn take_evictions(&mut self) -> impl Iterator<Item = Eviction> {
        self.log.as_mut().map(|log| log.drain(..)).into_iter().flatten()
    }

    /// At most `limit` blocks.
    pub fn lookup(&self, sequence: &[Piece], limit: u32) -> Hit {
        let mut hit = Hit { blocks: 0, free_blocks: 0, tail: NodeId::ROOT, tail_units: 0 };
        let mut at = Position::default();
        while let Some(step) = self.tree.enter(hit.tail, sequence, at, limit - hit.blocks) {
            hit.blocks += step.units;
            hit.tail = step.node;
            hit.tail_units = step.units;
            if self.extents[self.first_copy(step.node).place as usize].refs == 0 {
                hit.free_blocks += step.units;
            }
            if step.units < self.tree.units(step.node) || hit.blocks == limit {
                break;
            }
            at = at.advanced(sequence, step.units * self.tree.unit_tokens());
        }
        hit
    }

    /// References every block of the hit.
    pub fn admit(&mut self, sequence: &[Piece], hit: Hit) -> Holding {
        let mut tail = hit.tail;
        if hit.blocks > 0 && hit.tail_units < self.tree.units(tail) {
            tail = self.split(tail, hit.tail_units);
        }
        let mut chain: SmallVec<[NodeId; 8]> = SmallVec::new();
        let mut at = tail;
        while at != NodeId::ROOT {
            chain.push(at);
            at = self.tree.parent(at);
        }
        let mut holding = Holding {
            node: NodeIdOrRoot(tail),
            position: Position::default().advanced(sequence, hit.blocks * self.tree.unit_tokens()),
            cached: hit.blocks,
            ..Holding::default()
        };
        for node in chain.into_iter().rev() {
            let extent = self.first_copy(node);
            self.reference(extent);
            self.hold(&mut holding, extent);
        }
        holding
    }

    /// Evicts cached blocks if needed. False, without changes, if there are too few.
    pub fn allocate(&mut self, holding: &mut Holding, blocks: u32) -> bool {
        if blocks > self.free_blocks() {
            return false;
        }
        let from_blank = blocks.min(self.blank);
        self.blank -= from_blank;
        let mut left = blocks - from_blank;
        while left > 0 {
            left -= self.evict(left);
        }
        holding.private += blocks;
        true
    }

    /// Caches the next `blocks` private blocks: full now or at the end of this pass.
    pub fn cache(&mut self, holding: &mut Holding, sequence: &[Piece], blocks: u32) {
        assert!(blocks <= holding.private, "only blocks that are held can be cached");
        let mut left = blocks;
        while left > 0 {
            let node = holding.node.0;
            if self.may_extend(holding) {
                self.tree.extend(node, sequence, holding.position, left);
                self.forget_path(node);
                self.advance(holding, node, sequence, left);
                return;
            }
            let (node, units) = match self.tree.enter(node, sequence, holding.position, left) {
                Some(step) if step.units < self.tree.units(step.node) => {
                    (self.split(step.node, step.units), step.units)
                }
                Some(step) => (step.node, step.units),
                None => {
                    let empty = Copies::new();
                    let at = holding.position;
                    (self.tree.add_child(node, sequence, at, left, empty), left)
                }
            };
            let extent = self.new_extent(node, holding);
            self.tree.payload_mut(node).push(extent);
            self.hold(holding, extent);
            self.advance(holding, node, sequence, units);
            left -= units;
        }
    }

    /// Blocks with content stay cached until evicted.
    #[allow(clippy::needless_pass_by_value, reason = "what was given back is not held any more")]
    pub fn release(&mut self, holding: Holding) {
        self.blank += holding.private;
        for chain in holding.chains.iter().rev() {
            let mut next = Some(chain.tail);
            while let Some(id) = next.filter(|id| Some(*id) != chain.until) {
                let extent = &mut self.extents[id.place as usize];
                extent.refs -= 1;
                next = extent.upper;
                if extent.refs == 0 {
                    self.idle += self.tree.units(extent.node);
                    self.recency.push(id.place);
                }
            }
        }
    }

    /// Leading blocks of `holding` that `holders` requests, itself included, all reference.
    pub fn common_blocks(&self, holding: &Holding, holders: u32) -> u32 {
        let mut common = 0;
        for chain in holding.chains.iter().rev() {
            let mut next = Some(chain.tail);
            while let Some(id) = next.filter(|id| Some(*id) != chain.until) {
                let extent = &self.extents[id.place as usize];
                if extent.refs < holders {
                    common = 0;
                } else if common == 0 {
                    common = self.tree.end_units(extent.node);
                }
                next = extent.upper;
            }
        }
        common
    }

    /// False, without changes, while any request holds blocks.
    pub fn reset(&mut self) -> bool {
        if self.used_blocks() > 0 {
            return false;
        }
        self.evicted += u64::from(self.idle);
        self.tree.clear();
        self.last_path = None;
        self.extents.clear();
        self.vacant.clear();
        self.recency.clear();
        self.blank = self.total;
        self.idle = 0;
        true
    }

    /// True if the request's own leaf can grow.
    fn may_extend(&self, holding: &Holding) -> bool {
        let Some(last) = holding.chains.last() else { return false };
        let node = holding.node.0;
        let extent = &self.extents[last.tail.place as usize];
        extent.node == node
            && extent.refs == 1
            && self.tree.children(node) == 0
            && self.tree.payload(node).len() == 1
    }

    fn advance(&self, holding: &mut Holding, node: NodeId, sequence: &[Piece], blocks: u32) {
        holding.node = NodeIdOrRoot(node);
        holding.position = holding.position.advanced(sequence, blocks * self.tree.unit_tokens());
        holding.cached += blocks;
        holding.private -= blocks;
    }

    fn first_copy(&self, node: NodeId) -> ExtentId {
        *self.tree.payload(node).first().expect("a node lives as long as it has a copy")
    }

    fn hold(&self, holding: &mut Holding, extent: ExtentId) {
        let upper = self.extents[extent.place as usize].upper;
        match holding.chains.last_mut() {
            Some(last) if upper == Some(last.tail) => last.tail = extent,
            _ => holding.chains.push(Chain { tail: extent, until: upper }),
        }
    }

    fn new_extent(&mut self, node: NodeId, holding: &Holding) -> ExtentId {
        let upper = holding.chains.last().map(|last| last.tail);
        self.insert(node, 1, upper)
    }

    fn insert(&mut self, node: NodeId, refs: u32, upper: Option<ExtentId>) -> ExtentId {
        if let Some(place) = self.vacant.pop() {
            let generation = self.extents[place as usize].generation.wrapping_add(1);
            self.extents[place as usize] = Extent { node, generation, refs, upper };
            ExtentId { place, generation }
        } else {
            self.extents.push(Extent { node, generation: 0, refs, upper });
            ExtentId { place: (self.extents.len() - 1) as u32, generation: 0 }
        }
    }

    fn reference(&mut self, id: ExtentId) {
        let extent = &mut self.extents[id.place as usize];
        if extent.refs == 0 {
            self.idle -= self.tree.units(extent.node);
            self.recency.remove(id.place);
        }
        extent.refs += 1;
    }

    /// Splits a node and its copies after `at` blocks; returns the upper node.
    fn split(&mut self, node: NodeId, at: u32) -> NodeId {
        let lower_copies = self.tree.payload(node).clone();
        let upper_node = self.tree.split(node, at, |_| Copies::new());
        for lower in lower_copies {
            let Extent { refs, upper, .. } = self.extents[lower.place as usize];
            let front = self.insert(upper_node, refs, upper);
            self.extents[lower.place as usize].upper = Some(front);
            if refs == 0 {
                // The tail goes first, so the front follows it.
                self.recency.insert_after(front.place, lower.place);
            }
            self.tree.payload_mut(upper_node).push(front);
        }
        upper_node
    }

    /// At most `wanted` blocks, from the tail of the oldest free extent.
    fn evict(&mut self, wanted: u32) -> u32 {
        let place = self.recency.oldest().expect("free blocks that are not blank are listed");
        let Extent { node, generation, .. } = self.extents[place as usize];
        let id = ExtentId { place, generation };
        let copies = self.tree.payload(node).len();
        debug_assert!(
            copies > 1 || self.tree.children(node) == 0,
            "a cached block outlives those after it"
        );
        let units = self.tree.units(node);
        let taken = wanted.min(units);
        self.log_eviction(node, taken);
        if taken < units && copies == 1 {
            self.tree.truncate(node, units - taken);
        } else {
            if taken < units {
                self.split(node, units - taken);
            }
            self.remove_copy(id, node);
        }
        self.idle -= taken;
        self.evicted += u64::from(taken);
        taken
    }

    fn log_eviction(&mut self, node: NodeId, taken: u32) {
        let Some(log) = &mut self.log else { return };
        let path = match &self.last_path {
            Some((last, path)) if *last == node => path.clone(),
            _ => {
                let path = Prompt::new(self.tree.path(node));
                self.last_path = Some((node, path.clone()));
                path
            }
        };
        let to_block = self.tree.end_units(node);
        log.push(Eviction { path, from_block: to_block - taken, to_block });
    }

    /// Its blocks change, or its id will mean another node.
    fn forget_path(&mut self, node: NodeId) {
        self.last_path.take_if(|(last, _)| *last == node);
    }

    fn remove_copy(&mut self, id: ExtentId, node: NodeId) {
        self.recency.remove(id.place);
        self.vacant.push(id.place);
        let copies = self.tree.payload_mut(node);
        copies.retain(|copy| *copy != id);
        if copies.is_empty() {
            self.tree.remove(node);
            self.forget_path(node);
        }
    }
}
