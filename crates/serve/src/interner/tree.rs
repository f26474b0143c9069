//! The radix tree of token sequences: nodes, splits, references, and the order of forgetting.
//!
//! A node is a run of tokens of one content. Children are in one hash map, keyed by parent and
//! first token, so a node with a thousand children costs no more than one with two. Splitting
//! copies the lower half, so that forgetting frees memory.

use std::collections::{BTreeSet, HashMap};

use weir_model::{ContentId, Piece};

use super::answers::AnswerVocabulary;

/// Of a node and its three map entries, in tokens of four bytes.
const NODE_COST_TOKENS: u64 = 48;

/// Slots of forgotten nodes are reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(u32);

#[derive(Debug)]
pub(super) enum Run {
    /// As received.
    Prompt(Box<[u32]>),
    /// A function of the content, so only the number is kept.
    Answered(u32),
}

#[derive(Debug)]
struct Node {
    parent: Option<NodeId>,
    content: ContentId,
    /// Offset of the node in its content.
    start: u32,
    run: Run,
    children: u32,
    /// Requests in flight that end here.
    uses: u32,
    /// Of the last use; newer is larger.
    stamp: u64,
}

impl Node {
    fn len(&self) -> u32 {
        match &self.run {
            Run::Prompt(ids) => ids.len() as u32,
            Run::Answered(len) => *len,
        }
    }

    fn cost(&self) -> u64 {
        NODE_COST_TOKENS
            + match &self.run {
                Run::Prompt(ids) => ids.len() as u64,
                Run::Answered(_) => 0,
            }
    }
}

/// One root per salt.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Option<Node>>,
    free: Vec<NodeId>,
    roots: HashMap<u64, NodeId>,
    children: HashMap<(NodeId, u32), NodeId>,
    /// By content and first token in it.
    places: HashMap<(ContentId, u32), NodeId>,
    /// Childless nodes that no request in flight needs, least recently used first.
    forgettable: BTreeSet<(u64, NodeId)>,
    held: u64,
    stamp: u64,
    answers: AnswerVocabulary,
}

impl Tree {
    pub(super) fn new(answers: AnswerVocabulary) -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            roots: HashMap::new(),
            children: HashMap::new(),
            places: HashMap::new(),
            forgettable: BTreeSet::new(),
            held: 0,
            stamp: 0,
            answers,
        }
    }

    /// In tokens, with the cost of the nodes themselves.
    pub(super) const fn held(&self) -> u64 {
        self.held
    }

    pub(super) fn answers(&self) -> &AnswerVocabulary {
        &self.answers
    }

    fn node(&self, id: NodeId) -> &Node {
        self.nodes[id.0 as usize].as_ref().expect("ids in the tree's own maps name live nodes")
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id.0 as usize].as_mut().expect("ids in the tree's own maps name live nodes")
    }

    pub(super) fn root(&mut self, salt: u64) -> NodeId {
        if let Some(root) = self.roots.get(&salt) {
            return *root;
        }
        let root = self.place(Node {
            parent: None,
            // Roots hold no token, so their content is never looked up.
            content: ContentId(salt),
            start: 0,
            run: Run::Answered(0),
            children: 0,
            uses: 0,
            stamp: 0,
        });
        self.roots.insert(salt, root);
        root
    }

    pub(super) fn roots(&self) -> usize {
        self.roots.len()
    }

    pub(super) fn has_root(&self, salt: u64) -> bool {
        self.roots.contains_key(&salt)
    }

    /// The salt of prompts that begin with `content`.
    pub(super) fn salt_above(&self, content: ContentId) -> Option<u64> {
        let first = self.places.get(&(content, 0))?;
        let above = self.node(self.node(*first).parent?);
        above.parent.is_none().then_some(above.content.0)
    }

    fn place(&mut self, node: Node) -> NodeId {
        self.held += node.cost();
        if let Some(id) = self.free.pop() {
            self.nodes[id.0 as usize] = Some(node);
            return id;
        }
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Some(node));
        id
    }

    pub(super) fn child(&self, parent: NodeId, token: u32) -> Option<NodeId> {
        self.children.get(&(parent, token)).copied()
    }

    pub(super) fn piece(&self, id: NodeId) -> Piece {
        let node = self.node(id);
        Piece { content: node.content, start: node.start, len: node.len() }
    }

    fn token(&self, id: NodeId, at: u32) -> u32 {
        let node = self.node(id);
        match &node.run {
            Run::Prompt(ids) => ids[at as usize],
            Run::Answered(_) => self.answers.token(node.content, node.start + at),
        }
    }

    /// Leading tokens that `ids` shares with the node.
    pub(super) fn agreement(&self, id: NodeId, ids: &[u32]) -> u32 {
        let node = self.node(id);
        match &node.run {
            Run::Prompt(own) => agreement(own, ids),
            Run::Answered(len) => {
                let most = (*len as usize).min(ids.len());
                let answer = (node.start..).map(|at| self.answers.token(node.content, at));
                ids[..most].iter().zip(answer).take_while(|(a, b)| **a == *b).count() as u32
            }
        }
    }

    /// The first token must not begin another child.
    pub(super) fn grow(
        &mut self,
        parent: NodeId,
        content: ContentId,
        start: u32,
        run: Run,
    ) -> NodeId {
        let stamp = self.stamp;
        let node = Node { parent: Some(parent), content, start, run, children: 0, uses: 0, stamp };
        debug_assert!(node.len() > 0, "a child without tokens has no place among its siblings");
        let id = self.place(node);
        let first = self.token(id, 0);
        let before = self.children.insert((parent, first), id);
        debug_assert!(before.is_none(), "a token begins one child at most");
        self.places.insert((content, start), id);
        self.unlist(parent);
        self.node_mut(parent).children += 1;
        self.list(id);
        id
    }

    /// Cuts a node after `at` tokens and returns the upper part. The lower part keeps its id, so
    /// requests that end there keep theirs.
    pub(super) fn split(&mut self, id: NodeId, at: u32) -> NodeId {
        let (first, cut) = (self.token(id, 0), self.token(id, at));
        let old_cost = self.node(id).cost();
        let node = self.node_mut(id);
        debug_assert!(at > 0 && at < node.len(), "both halves hold tokens");
        let (upper_run, lower_run) = match &node.run {
            Run::Prompt(ids) => {
                let (upper, lower) = ids.split_at(at as usize);
                (Run::Prompt(upper.into()), Run::Prompt(lower.into()))
            }
            Run::Answered(len) => (Run::Answered(at), Run::Answered(len - at)),
        };
        let (content, start, parent, stamp) = (node.content, node.start, node.parent, node.stamp);
        node.run = lower_run;
        node.start = start + at;
        let new_cost = node.cost();
        let upper = Node { parent, content, start, run: upper_run, children: 1, uses: 0, stamp };
        let upper = self.place(upper);
        self.node_mut(id).parent = Some(upper);
        self.held = self.held + new_cost - old_cost;
        let parent = parent.expect("roots hold no token and are never cut");
        self.children.insert((parent, first), upper);
        self.children.insert((upper, cut), id);
        self.places.insert((content, start), upper);
        self.places.insert((content, start + at), id);
        upper
    }

    /// Keeps the node and all above it while the request is in flight.
    pub(super) fn hold(&mut self, id: NodeId) {
        self.unlist(id);
        self.stamp += 1;
        let stamp = self.stamp;
        let node = self.node_mut(id);
        node.uses += 1;
        node.stamp = stamp;
    }

    pub(super) fn release(&mut self, id: NodeId) {
        self.stamp += 1;
        let stamp = self.stamp;
        let node = self.node_mut(id);
        debug_assert!(node.uses > 0, "released as often as held");
        node.uses -= 1;
        node.stamp = stamp;
        self.list(id);
    }

    fn unlist(&mut self, id: NodeId) {
        let stamp = self.node(id).stamp;
        self.forgettable.remove(&(stamp, id));
    }

    fn list(&mut self, id: NodeId) {
        let node = self.node(id);
        if node.children == 0 && node.uses == 0 {
            self.forgettable.insert((node.stamp, id));
        }
    }

    /// False when no leaf can be forgotten.
    pub(super) fn forget_one(&mut self) -> bool {
        let Some((stamp, id)) = self.forgettable.pop_first() else {
            return false;
        };
        let parent = self.node(id).parent;
        if let Some(parent) = parent {
            let first = self.token(id, 0);
            self.children.remove(&(parent, first));
            let piece = self.piece(id);
            self.places.remove(&(piece.content, piece.start));
        } else {
            let salt = self.node(id).content.0;
            self.roots.remove(&salt);
        }
        self.held -= self.node(id).cost();
        self.nodes[id.0 as usize] = None;
        self.free.push(id);
        if let Some(parent) = parent {
            let above = self.node_mut(parent);
            above.children -= 1;
            // It was used whenever its child was.
            above.stamp = above.stamp.max(stamp);
            self.list(parent);
        }
        true
    }

    /// False when some of the piece's tokens are unknown.
    pub(super) fn append(&self, piece: Piece, ids: &mut Vec<u32>) -> bool {
        let (mut at, end) = (0, piece.start + piece.len);
        while at < end {
            let Some(id) = self.places.get(&(piece.content, at)) else {
                return false;
            };
            let node = self.node(*id);
            let Run::Prompt(own) = &node.run else { return false };
            let until = (at + own.len() as u32).min(end);
            if until > piece.start {
                let skip = piece.start.saturating_sub(at) as usize;
                ids.extend_from_slice(&own[skip..(until - at) as usize]);
            }
            at = until;
        }
        true
    }
}

fn agreement(own: &[u32], ids: &[u32]) -> u32 {
    let most = own.len().min(ids.len());
    // Whole blocks are compared at once; only the block that differs is searched.
    let mut at = 0;
    while at + 64 <= most && own[at..at + 64] == ids[at..at + 64] {
        at += 64;
    }
    while at < most && own[at] == ids[at] {
        at += 1;
    }
    at as u32
}
