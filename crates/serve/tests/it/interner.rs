//! The interner against a naive one that compares token by token.

use proptest::prelude::*;
use weir_model::Piece;
use weir_serve::interner::{AnswerVocabulary, Interned, Interner};
use weir_serve::token_ids::TokenIds;

/// So many that no two answers begin alike by chance.
const ANSWERS: AnswerVocabulary = AnswerVocabulary::Range { first: 10, span: 1_000_000_000 };

fn agreement<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Token by token, as the engine compares.
fn symbols(pieces: &[Piece]) -> Vec<(u64, u32)> {
    let each =
        |piece: Piece| (piece.start..piece.start + piece.len).map(move |at| (piece.content.0, at));
    pieces.iter().copied().flat_map(each).collect()
}

/// Fresh tokens of a small alphabet, after a part of an earlier prompt and perhaps of its answer.
#[derive(Debug, Clone)]
struct Step {
    quoted: usize,
    quoted_part: f64,
    answer_part: f64,
    fresh: Vec<u32>,
    output: u32,
    seed: u64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let part = || prop_oneof![Just(0.0), Just(1.0), 0.0..1.0];
    let step =
        (any::<usize>(), part(), part(), prop::collection::vec(0u32..4, 1..40), 1u32..50, 0u64..2)
            .prop_map(|(quoted, quoted_part, answer_part, fresh, output, seed)| Step {
                quoted,
                quoted_part,
                answer_part,
                fresh,
                output,
                seed,
            });
    prop::collection::vec(step, 1..40)
}

struct History {
    interner: Interner,
    prompts: Vec<Vec<u32>>,
    interned: Vec<Interned>,
    outputs: Vec<u32>,
}

impl History {
    fn new(limit: u64) -> Self {
        let interner = Interner::new(ANSWERS, limit);
        Self { interner, prompts: Vec::new(), interned: Vec::new(), outputs: Vec::new() }
    }

    fn ask(&mut self, step: &Step) {
        let mut ids = Vec::new();
        if !self.prompts.is_empty() {
            let from = step.quoted % self.prompts.len();
            let old = &self.prompts[from];
            let part = (old.len() as f64 * step.quoted_part).round() as usize;
            ids.extend_from_slice(&old[..part]);
            if part == old.len() {
                let most = f64::from(self.outputs[from]) * step.answer_part;
                let answer = self.interned[from].answer;
                let quote = 0..most.round() as u32;
                ids.extend(quote.map(|at| self.interner.answer_token(answer, at)));
            }
        }
        ids.extend_from_slice(&step.fresh);
        self.interned.push(self.interner.intern(&ids, "", step.seed, step.output));
        self.prompts.push(ids);
        self.outputs.push(step.output);
    }

    fn sequence(&self, at: usize) -> Vec<u32> {
        let answer = self.interned[at].answer;
        let mut ids = self.prompts[at].clone();
        ids.extend((0..self.outputs[at]).map(|n| self.interner.answer_token(answer, n)));
        ids
    }

    /// Prompt and answer, as the engine names their tokens.
    fn named(&self, at: usize) -> Vec<(u64, u32)> {
        let mut names = symbols(self.interned[at].prompt.pieces());
        names.extend(symbols(&[Piece::new(self.interned[at].answer, self.outputs[at])]));
        names
    }
}

proptest! {
    #[test]
    fn sequences_agree_in_pieces_as_far_as_in_tokens(steps in steps()) {
        let mut history = History::new(u64::MAX);
        for step in &steps {
            history.ask(step);
        }
        for a in 0..steps.len() {
            let ids = history.interner.token_ids(history.interned[a].prompt.pieces());
            prop_assert_eq!(&ids, &history.prompts[a], "pieces stand for the tokens asked");
            for b in 0..a {
                // Fresh tokens are below 10 and answers above, so comparisons are exact.
                let tokens = agreement(&history.sequence(a), &history.sequence(b));
                let names = agreement(&history.named(a), &history.named(b));
                prop_assert_eq!(names, tokens, "{} and {}", a, b);
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_nothing_in_use_is_forgotten(
        steps in steps(),
        limit in 0u64..4000,
        held in 1usize..8,
    ) {
        let mut history = History::new(limit);
        let mut released = 0;
        for step in &steps {
            history.ask(step);
            if history.interned.len() - released > held {
                history.interner.release(&history.interned[released]);
                released += 1;
            }
            for at in released..history.interned.len() {
                let pieces = history.interned[at].prompt.pieces();
                prop_assert_eq!(&history.interner.token_ids(pieces), &history.prompts[at]);
            }
            // Only nodes in use may exceed the limit: three per request (end, answer, split).
            let open = history.prompts[released..].iter();
            let in_use: usize = open.map(|ids| ids.len() + 40 * 48).sum();
            prop_assert!(history.interner.held_tokens() <= limit + in_use as u64 + 48);
        }
        for interned in &history.interned[released..] {
            history.interner.release(interned);
        }
        // The next prompt makes room for itself: a root, a node per token at most, and its answer.
        let last = history.interner.intern(&[1, 2, 3], "", 0, 1);
        prop_assert!(history.interner.held_tokens() <= limit.max(5 * 48 + 3));
        history.interner.release(&last);
    }
}

#[test]
fn salts_share_nothing_and_seeds_share_the_prompt() {
    let mut interner = Interner::new(ANSWERS, u64::MAX);
    let ids: Vec<u32> = (0..50).collect();
    let plain = interner.intern(&ids, "", 0, 20);
    let salted = interner.intern(&ids, "salt", 0, 20);
    let seeded = interner.intern(&ids, "", 1, 20);
    assert_eq!(plain.prompt, seeded.prompt);
    assert_ne!(plain.answer, seeded.answer);
    assert_eq!(seeded.known_tokens, 50);
    assert_eq!(salted.known_tokens, 0);
    assert_ne!(plain.prompt, salted.prompt);
    assert_ne!(plain.answer, salted.answer);
}

#[test]
fn answers_do_not_depend_on_what_was_asked_before() {
    let ids: Vec<u32> = (0..50).collect();
    let fresh = Interner::new(ANSWERS, u64::MAX).intern(&ids, "", 7, 20).answer;
    let mut old = Interner::new(ANSWERS, u64::MAX);
    for at in 1..50 {
        old.intern(&ids[..at], "", 7, 20);
    }
    assert_eq!(old.intern(&ids, "", 7, 5).answer, fresh);
    assert_eq!(old.intern(&ids, "", 7, 500).answer, fresh);
}

#[test]
fn the_salt_of_a_prompt_is_known_while_the_prompt_is() {
    let mut interner = Interner::new(ANSWERS, 1_000_000);
    let ids: Vec<u32> = (0..100).collect();
    let plain = interner.intern(&ids, "", 0, 4);
    let salted = interner.intern(&ids, "weir", 0, 4);
    let longer = interner.intern(&(0..150).collect::<Vec<u32>>(), "weir", 0, 4);
    assert_eq!(interner.cache_salt(plain.prompt.pieces()), None);
    for prompt in [&salted, &longer] {
        assert_eq!(interner.cache_salt(prompt.prompt.pieces()), Some("weir"));
    }
    // Only a path from the first token on has a salt.
    assert_eq!(interner.cache_salt(&longer.prompt.pieces()[1..]), None);
}
