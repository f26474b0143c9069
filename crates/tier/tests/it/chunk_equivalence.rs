//! The cache by runs against the plain one, operation by operation, for every policy.

use proptest::prelude::*;
use weir_model::{ContentId, Piece, Prompt};
use weir_tier::EvictionPolicy;
use weir_tier::chunk_cache::{ChunkCache, Fit, Spans};

use crate::plain_cache::PlainCache;

const UNIT: u32 = 4;

#[derive(Debug, Clone)]
enum Action {
    /// Store the missing chunks of a sequence from a chunk on.
    Store(Vec<(u64, u32)>, u32, Fit),
    /// The n-th store in flight arrives (or fails).
    Settle(usize, bool),
    /// The request of the n-th store in flight ends.
    Finish(usize),
    /// Look up a sequence from a chunk on and pin the found chunks.
    Read(Vec<(u64, u32)>, u32),
    /// The n-th read ends and counts as a use.
    EndRead(usize),
    Evict(u32),
}

fn sequence() -> impl Strategy<Value = Vec<(u64, u32)>> {
    prop::collection::vec((0u64..3, 1u32..14), 1..4)
}

fn action() -> impl Strategy<Value = Action> {
    let fit = prop_oneof![Just(Fit::Whole), Just(Fit::Front), Just(Fit::Free)];
    prop_oneof![
        4 => (sequence(), 0u32..3, fit)
            .prop_map(|(pieces, from, fit)| Action::Store(pieces, from, fit)),
        4 => (0usize..5, prop::bool::weighted(0.8)).prop_map(|(n, ok)| Action::Settle(n, ok)),
        2 => (0usize..5).prop_map(Action::Finish),
        2 => (sequence(), 0u32..3).prop_map(|(pieces, from)| Action::Read(pieces, from)),
        2 => (0usize..5).prop_map(Action::EndRead),
        1 => (1u32..5).prop_map(Action::Evict),
    ]
}

struct Store {
    prompt: Prompt,
    tokens: Vec<u32>,
    from: u32,
    ours: Spans,
    plain: Vec<usize>,
}

struct Read {
    prompt: Prompt,
    tokens: Vec<u32>,
    from: u32,
    to: u32,
}

struct Pair {
    ours: ChunkCache,
    plain: PlainCache,
    stores: Vec<Store>,
    reads: Vec<Read>,
}

fn spell(pieces: &[(u64, u32)]) -> (Prompt, Vec<u32>) {
    let prompt =
        Prompt::new(pieces.iter().map(|(content, len)| Piece::new(ContentId(*content), *len)));
    let tokens = prompt
        .pieces()
        .iter()
        .flat_map(|piece| {
            (piece.start..piece.start + piece.len)
                .map(|index| piece.content.0 as u32 * 1000 + index)
        })
        .collect();
    (prompt, tokens)
}

impl Pair {
    fn found(&self, prompt: &Prompt, tokens: &[u32], from: u32) -> u32 {
        let all = prompt.tokens().0 / UNIT;
        let ours = self.ours.lookup(prompt.pieces(), from, all);
        let plain = self.plain.lookup(tokens, from as usize, all as usize);
        assert_eq!(ours, plain);
        let gap = self.ours.gap(prompt.pieces(), from, all) as usize;
        assert_eq!(gap, self.plain.gap(tokens, from as usize, all as usize));
        ours.chunks
    }

    fn store(&mut self, pieces: &[(u64, u32)], from: u32, fit: Fit) {
        let (prompt, tokens) = spell(pieces);
        let all = prompt.tokens().0 / UNIT;
        let from = from.min(all);
        let ours = self.ours.reserve(prompt.pieces(), from, all, fit);
        let plain = self.plain.reserve(&tokens, from as usize, all as usize, fit);
        let indices: Vec<usize> =
            ours.spans.iter().flat_map(|span| span.from as usize..span.to as usize).collect();
        assert_eq!(indices, plain);
        if !plain.is_empty() {
            self.stores.push(Store { prompt, tokens, from, ours: ours.spans, plain });
        }
    }

    fn settle(&mut self, which: usize, arrived: bool) {
        if self.stores.is_empty() {
            return;
        }
        let store = self.stores.remove(which % self.stores.len());
        for span in &store.ours {
            if arrived {
                self.ours.commit(store.prompt.pieces(), span.from, span.to);
            } else {
                self.ours.cancel(store.prompt.pieces(), span.from, span.to);
            }
        }
        self.plain.settle(&store.tokens, &store.plain, arrived);
    }

    fn finish(&mut self, which: usize) {
        if self.stores.is_empty() {
            return;
        }
        let store = &self.stores[which % self.stores.len()];
        let all = store.prompt.tokens().0 / UNIT;
        self.ours.touch(store.prompt.pieces(), store.from, all, &store.ours);
        self.plain.touch(&store.tokens, store.from as usize, all as usize, &store.plain);
    }

    fn read(&mut self, pieces: &[(u64, u32)], from: u32) {
        let (prompt, tokens) = spell(pieces);
        let from = from.min(prompt.tokens().0 / UNIT);
        let to = from + self.found(&prompt, &tokens, from);
        self.ours.pin_read(prompt.pieces(), from, to);
        self.plain.pin(&tokens, from as usize, to as usize, true);
        self.reads.push(Read { prompt, tokens, from, to });
    }

    fn end_read(&mut self, which: usize) {
        if self.reads.is_empty() {
            return;
        }
        let Read { prompt, tokens, from, to } = self.reads.remove(which % self.reads.len());
        self.ours.unpin(prompt.pieces(), from, to);
        self.plain.pin(&tokens, from as usize, to as usize, false);
        self.ours.touch(prompt.pieces(), from, to, &[]);
        self.plain.touch(&tokens, from as usize, to as usize, &[]);
    }
}

fn run(actions: Vec<Action>, capacity: u32, policy: EvictionPolicy) {
    let mut pair = Pair {
        ours: ChunkCache::new(capacity, UNIT, policy),
        plain: PlainCache::new(capacity as usize, UNIT as usize, policy),
        stores: Vec::new(),
        reads: Vec::new(),
    };
    let mut asked = Vec::new();
    for action in actions {
        match action {
            Action::Store(pieces, from, fit) => {
                asked.push(pieces.clone());
                pair.store(&pieces, from, fit);
            }
            Action::Settle(which, arrived) => pair.settle(which, arrived),
            Action::Finish(which) => pair.finish(which),
            Action::Read(pieces, from) => pair.read(&pieces, from),
            Action::EndRead(which) => pair.end_read(which),
            Action::Evict(chunks) => {
                let ours = pair.ours.evict_oldest(chunks);
                assert_eq!(ours as usize, pair.plain.evict_oldest(chunks as usize));
            }
        }
        assert_eq!(pair.ours.used() as usize, pair.plain.used());
        assert_eq!(pair.ours.evicted(), pair.plain.evicted);
        assert!(pair.ours.used() <= capacity);
        for pieces in &asked {
            let (prompt, tokens) = spell(pieces);
            pair.found(&prompt, &tokens, 0);
            pair.found(&prompt, &tokens, 1.min(prompt.tokens().0 / UNIT));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn runs_equal_chunks_lru(
        actions in prop::collection::vec(action(), 1..80),
        capacity in 2u32..24,
    ) {
        run(actions, capacity, EvictionPolicy::Lru);
    }

    #[test]
    fn runs_equal_chunks_arc(
        actions in prop::collection::vec(action(), 1..80),
        capacity in 2u32..24,
    ) {
        run(actions, capacity, EvictionPolicy::Arc);
    }

    #[test]
    fn a_full_tier_without_eviction_refuses(
        actions in prop::collection::vec(action(), 1..40),
        capacity in 2u32..24,
    ) {
        run(actions, capacity, EvictionPolicy::None);
    }
}
