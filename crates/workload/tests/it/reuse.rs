use proptest::prelude::*;
use weir_model::{ContentId, Nanos, Piece, Prompt, Tokens};
use weir_workload::{Session, SessionSource, Turn, profile, profile_interleaved};

use crate::{SHARED_PREFIX, source, take};

struct Listed(std::vec::IntoIter<Session>);

impl SessionSource for Listed {
    fn next_session(&mut self) -> Option<Session> {
        self.0.next()
    }
}

/// One-turn sessions of contents with lengths; answers have the given length.
fn listed(prompts: &[Vec<(u64, u32)>], answer: u32) -> Listed {
    let session = |(index, pieces): (usize, &Vec<(u64, u32)>)| Session {
        id: index as u64,
        start: None,
        turns: vec![Turn {
            prompt: Prompt::new(pieces.iter().map(|(c, len)| Piece::new(ContentId(*c), *len))),
            output_tokens: Tokens(answer),
            output: ContentId(1_000_000 + index as u64),
            seen_tokens: Tokens(0),
            after: Vec::new(),
            think: Nanos::ZERO,
        }],
    };
    let sessions: Vec<Session> = prompts.iter().enumerate().map(session).collect();
    Listed(sessions.into_iter())
}

#[test]
fn distances_are_those_of_an_lru_stack() {
    // A: 10 shared + 5; B: 20; A's prefix again + 7. Answers of 1 token.
    let prompts = [vec![(1, 10), (2, 5)], vec![(3, 20)], vec![(1, 10), (4, 7)]];
    let found = profile(&mut listed(&prompts, 1), 10, 1);
    assert_eq!((found.sessions, found.sessions_scanned, found.requests), (10, 3, 3));
    assert_eq!((found.prompt_tokens, found.seen_tokens), (52, 10));
    assert_eq!(found.unique_tokens, 10 + 5 + 20 + 7 + 3);
    assert_eq!(found.asked_again_tokens, 10);
    // Behind the 10 shared tokens stand B's 20 and its answer; the first of the ten needs 22.
    assert_eq!(found.reuse_distance_p50_tokens, 21 + 5);
    assert_eq!(found.reuse_distance_p90_tokens, 21 + 9);
    assert_eq!(found.reuse_distance_max_tokens, 31);
    assert_eq!(found.hit_share_within(21), 0.0);
    assert_eq!(found.hit_share_within(26), 0.5);
    assert_eq!(found.hit_share_within(1 << 60), 1.0);
    assert!((found.mean_prompt_tokens - 52.0 / 3.0).abs() < 1e-12);
    assert_eq!(found.mean_output_tokens, 1.0);
}

#[test]
fn only_whole_blocks_are_reused() {
    let prompts = [vec![(1, 50), (2, 5)], vec![(1, 50), (3, 5)]];
    let found = profile(&mut listed(&prompts, 1), 2, 16);
    assert_eq!((found.seen_tokens, found.asked_again_tokens), (48, 48));
    assert_eq!(profile(&mut listed(&prompts, 1), 2, 64).seen_tokens, 0);
}

#[test]
fn an_empty_source_has_an_empty_profile() {
    let found = profile(&mut listed(&[], 1), 5, 16);
    assert_eq!((found.requests, found.unique_tokens, found.seen_tokens), (0, 0, 0));
    assert_eq!((found.reuse_distance_max_tokens, found.mean_prompt_tokens), (0, 0.0));
    assert_eq!(found.hit_share_within(100), 0.0);
}

#[test]
fn the_profile_sees_what_the_source_says() {
    let sessions = take(&mut source(SHARED_PREFIX, 4), 60);
    let (mut seen, mut asked, mut answered) = (0, 0, 0);
    for turn in sessions.iter().flat_map(|session| &session.turns) {
        seen += u64::from(turn.seen_tokens.get());
        asked += u64::from(turn.prompt.tokens().get());
        answered += u64::from(turn.output_tokens.get());
    }
    let found = profile(&mut source(SHARED_PREFIX, 4), 60, 1);
    assert_eq!((found.prompt_tokens, found.seen_tokens, found.requests), (asked, seen, 240));
    // What was not seen is new, and so is every answer.
    assert_eq!(found.unique_tokens, asked - seen + answered);
    assert_eq!(found.mean_output_tokens, answered as f64 / 240.0);
}

#[test]
fn other_users_push_a_conversation_back() {
    let alone = profile(&mut source(SHARED_PREFIX, 4), 200, 16);
    let among = profile_interleaved(&mut source(SHARED_PREFIX, 4), 200, 16, 50);
    assert_eq!((alone.requests, alone.prompt_tokens), (among.requests, among.prompt_tokens));
    assert_eq!(alone.unique_tokens, among.unique_tokens);
    assert!(among.reuse_distance_p90_tokens > 3 * alone.reuse_distance_p90_tokens);
}

/// An LRU cache of single tokens, each named by all tokens up to it. A request looks up its
/// leading tokens, then uses all of them and its answer, last token first.
fn hits_of_token_lru(prompts: &[Vec<(u64, u32)>], answer: u32, capacity: usize) -> u64 {
    let mut stack: Vec<Vec<(u64, u32)>> = Vec::new();
    let mut hits = 0;
    for (index, pieces) in prompts.iter().enumerate() {
        let mut named: Vec<(u64, u32)> = pieces
            .iter()
            .flat_map(|(content, len)| (0..*len).map(move |i| (*content, i)))
            .collect();
        let prompt = named.len();
        named.extend((0..answer).map(|i| (1_000_000 + index as u64, i)));
        let held = &stack[stack.len().saturating_sub(capacity)..];
        hits += (1..=prompt).take_while(|end| held.iter().any(|t| *t == named[..*end])).count();
        for end in (1..=named.len()).rev() {
            stack.retain(|token| *token != named[..end]);
            stack.push(named[..end].to_vec());
        }
    }
    hits as u64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn hits_equal_those_of_a_plain_lru_of_tokens(
        choices in prop::collection::vec(prop::collection::vec(0u64..3, 1..4), 1..12),
        answer in 1u32..4,
    ) {
        // A content has one length, as in all generators: 2, 4 or 6 tokens.
        let prompts: Vec<Vec<(u64, u32)>> = choices
            .iter()
            .map(|contents| contents.iter().map(|c| (*c, 2 + 2 * *c as u32)).collect())
            .collect();
        let found = profile(&mut listed(&prompts, answer), prompts.len(), 1);
        for capacity in [0, 1, 3, 7, 12, 20, 40, 1000] {
            let expected = hits_of_token_lru(&prompts, answer, capacity);
            prop_assert_eq!(found.hit_tokens_within(capacity as u64), expected, "{}", capacity);
        }
    }
}
