//! The pool by extents against vLLM's rules, operation by operation.

use proptest::prelude::*;
use weir_engine::pool::{BlockPool, Holding};
use weir_model::{ContentId, Piece, Prompt};

use crate::plain_pool::{PlainHolding, PlainPool};

const UNIT: u32 = 4;

#[derive(Debug, Clone)]
enum Action {
    /// A request with these (content, tokens) pieces.
    Submit(Vec<(u64, u32)>),
    /// The n-th live request computes up to this many more blocks.
    Compute(usize, u32),
    /// The n-th live request allocates up to this many more blocks.
    Allocate(usize, u32),
    Release(usize),
}

fn action() -> impl Strategy<Value = Action> {
    let piece = (0u64..3, 1u32..14);
    prop_oneof![
        3 => prop::collection::vec(piece, 1..5).prop_map(Action::Submit),
        5 => (0usize..6, 1u32..6).prop_map(|(which, blocks)| Action::Compute(which, blocks)),
        2 => (0usize..6, 1u32..6).prop_map(|(which, blocks)| Action::Allocate(which, blocks)),
        2 => (0usize..6).prop_map(Action::Release),
    ]
}

struct Live {
    prompt: Prompt,
    tokens: Vec<u32>,
    ours: Holding,
    plain: PlainHolding,
}

/// Token ids equal exactly where the symbolic tokens are.
fn spell(prompt: &Prompt) -> Vec<u32> {
    prompt
        .pieces()
        .iter()
        .flat_map(|piece| {
            (piece.start..piece.start + piece.len)
                .map(|index| piece.content.0 as u32 * 1000 + index)
        })
        .collect()
}

struct Pair {
    ours: BlockPool,
    plain: PlainPool,
    live: Vec<Live>,
}

impl Pair {
    fn submit(&mut self, pieces: &[(u64, u32)]) {
        let prompt =
            Prompt::new(pieces.iter().map(|(content, len)| Piece::new(ContentId(*content), *len)));
        let tokens = spell(&prompt);
        let limit = (prompt.tokens().0 - 1) / UNIT;
        let hit = self.ours.lookup(prompt.pieces(), limit);
        let (ids, free) = self.plain.lookup(&tokens, limit as usize);
        assert_eq!((hit.blocks as usize, hit.free_blocks as usize), (ids.len(), free));
        assert!(hit.blocks * UNIT < prompt.tokens().0, "a hit leaves at least one token");
        let ours = self.ours.admit(prompt.pieces(), hit);
        let plain = self.plain.admit(&ids);
        self.live.push(Live { prompt, tokens, ours, plain });
    }

    /// True if the blocks were allocated.
    fn allocate(&mut self, which: usize, blocks: u32) -> bool {
        let count = self.live.len();
        let Some(live) = self.live.get_mut(which % count.max(1)) else { return false };
        let whole = live.prompt.tokens().0.div_ceil(UNIT);
        let wanted = blocks.min(whole - live.ours.blocks());
        let got = self.ours.allocate(&mut live.ours, wanted);
        assert_eq!(got, self.plain.allocate(&mut live.plain, wanted as usize));
        got
    }

    fn compute(&mut self, which: usize, blocks: u32) {
        if !self.allocate(which, blocks) {
            return;
        }
        let count = self.live.len();
        let live = &mut self.live[which % count];
        let full = (live.prompt.tokens().0 / UNIT).min(live.ours.blocks());
        let new = full - live.ours.cached_blocks();
        self.ours.cache(&mut live.ours, live.prompt.pieces(), new);
        self.plain.cache(&mut live.plain, &live.tokens, new as usize);
        let holders = 2;
        assert_eq!(
            self.ours.common_blocks(&live.ours, holders) as usize,
            self.plain.common_blocks(&live.plain, holders)
        );
    }

    fn release(&mut self, which: usize) {
        if self.live.is_empty() {
            return;
        }
        let live = self.live.remove(which % self.live.len());
        self.ours.release(live.ours);
        self.plain.release(live.plain);
    }

    fn check(&self) {
        assert_eq!(self.ours.free_blocks() as usize, self.plain.free_blocks());
        assert_eq!(self.ours.evicted_blocks(), self.plain.evicted);
        for live in &self.live {
            let all = live.prompt.tokens().0 / UNIT;
            let hit = self.ours.lookup(live.prompt.pieces(), all);
            let (ids, free) = self.plain.lookup(&live.tokens, all as usize);
            assert_eq!((hit.blocks as usize, hit.free_blocks as usize), (ids.len(), free));
        }
    }
}

fn run(actions: Vec<Action>, blocks: u32) {
    let mut pair = Pair {
        ours: BlockPool::new(blocks, UNIT, false),
        plain: PlainPool::new(blocks as usize, UNIT as usize),
        live: Vec::new(),
    };
    for action in actions {
        match action {
            Action::Submit(pieces) => pair.submit(&pieces),
            Action::Compute(which, blocks) => pair.compute(which, blocks),
            Action::Allocate(which, blocks) => drop(pair.allocate(which, blocks)),
            Action::Release(which) => pair.release(which),
        }
        pair.check();
    }
    while !pair.live.is_empty() {
        pair.release(0);
        pair.check();
    }
    assert_eq!(pair.ours.used_blocks(), 0, "no block is leaked");
    assert!(pair.ours.reset());
    assert_eq!((pair.ours.free_blocks(), pair.ours.extents()), (blocks, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn extents_equal_blocks(
        actions in prop::collection::vec(action(), 1..120),
        blocks in 6u32..40,
    ) {
        run(actions, blocks);
    }
}

#[test]
fn equal_prompts_computed_side_by_side_keep_two_copies() {
    let whole = vec![(1, 16), (2, 4)];
    run(
        vec![
            Action::Submit(whole.clone()),
            Action::Submit(whole.clone()),
            Action::Compute(0, 5),
            Action::Compute(1, 5),
            Action::Release(0),
            Action::Submit(whole),
            Action::Compute(1, 5),
        ],
        20,
    );
}
