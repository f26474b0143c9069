use std::collections::{BTreeMap, BTreeSet};

use weir_model::{ContentId, Nanos, Tokens};
use weir_workload::generator::agentic::AgenticSource;
use weir_workload::generator::long_context::LongContextSource;
use weir_workload::generator::shared_prefix::SharedPrefixSource;
use weir_workload::{Salted, Session, SessionSource, WorkloadConfig};

use crate::{AGENTIC, LONG_CONTEXT, SHARED_PREFIX, source, take, workload};

fn digest(sessions: &[Session]) -> u64 {
    let mut state = 0;
    let mut fold = |value: u64| state = ContentId::derive(state, "digest", value).0;
    for session in sessions {
        fold(session.id);
        fold(session.start.map_or(u64::MAX, Nanos::get));
        for turn in &session.turns {
            for piece in turn.prompt.pieces() {
                fold(piece.content.0);
                fold(u64::from(piece.start) << 32 | u64::from(piece.len));
            }
            fold(u64::from(turn.output_tokens.get()));
            fold(turn.output.0);
            fold(u64::from(turn.seen_tokens.get()));
            turn.after.iter().for_each(|turn| fold(u64::from(*turn)));
            fold(turn.think.get());
        }
    }
    state
}

/// The digests were made on `x86_64` Linux. Another value on another machine, or after a change,
/// means that published results of the same seed are no longer comparable.
#[test]
fn sessions_are_the_same_everywhere_and_for_ever() {
    let found = [SHARED_PREFIX, LONG_CONTEXT, AGENTIC]
        .map(|yaml| format!("{:016x}", digest(&take(&mut source(yaml, 889), 100))));
    assert_eq!(found, ["71eeee27604fa539", "d00edade2d40c988", "675569e3dba04f53"]);
}

#[test]
fn equal_seeds_give_equal_sessions_and_others_do_not() {
    for yaml in [SHARED_PREFIX, LONG_CONTEXT, AGENTIC] {
        let first = take(&mut source(yaml, 1), 30);
        assert_eq!(first, take(&mut source(yaml, 1), 30));
        assert_ne!(digest(&first), digest(&take(&mut source(yaml, 2), 30)));
    }
}

#[test]
fn sources_can_be_handed_to_another_thread() {
    fn send<T: Send>(_: &T) {}
    send(&source(SHARED_PREFIX, 1));
}

/// Without what depends on earlier sessions.
fn alone(mut session: Session) -> Session {
    session.turns.iter_mut().for_each(|turn| turn.seen_tokens = Tokens(0));
    session
}

#[test]
fn any_session_can_be_made_without_the_others() {
    for yaml in [SHARED_PREFIX, LONG_CONTEXT, AGENTIC] {
        let expected = alone(take(&mut source(yaml, 5), 41).remove(40));
        let made = match workload(yaml) {
            WorkloadConfig::SharedPrefix(c) => {
                SharedPrefixSource::new(c, 5).unwrap().session_at(40)
            }
            WorkloadConfig::LongContext(c) => LongContextSource::new(c, 5).unwrap().session_at(40),
            WorkloadConfig::Agentic(c) => AgenticSource::new(c, 5).unwrap().session_at(40),
            WorkloadConfig::Trace(_) => unreachable!("not a generator"),
        };
        assert_eq!(alone(made), expected);
    }
}

#[test]
fn dependencies_point_backwards_and_ids_count_up() {
    for yaml in [SHARED_PREFIX, LONG_CONTEXT, AGENTIC] {
        for (index, session) in take(&mut source(yaml, 3), 50).iter().enumerate() {
            assert_eq!(session.id, index as u64);
            assert_eq!(session.start, None);
            assert!(!session.turns.is_empty());
            for (place, turn) in session.turns.iter().enumerate() {
                assert!(turn.after.iter().all(|after| (*after as usize) < place));
                assert_eq!(turn.after.is_empty(), place == 0, "one turn starts a session");
                assert!(turn.prompt.tokens() > Tokens(0) && turn.output_tokens > Tokens(0));
                assert!(turn.seen_tokens <= turn.prompt.tokens());
            }
        }
    }
}

#[test]
fn a_turn_asks_all_that_was_said_before_it() {
    let sessions = take(&mut source(SHARED_PREFIX, 7), 40);
    for session in &sessions {
        for pair in session.turns.windows(2) {
            let before = pair[0].prompt.tokens() + pair[0].output_tokens;
            let said = pair[1].prompt.pieces();
            let known = pair[0].prompt.pieces().len();
            assert_eq!(pair[0].prompt.pieces(), &said[..known]);
            assert_eq!(said[known].content, pair[0].output);
            assert_eq!(Tokens(said[known].len), pair[0].output_tokens);
            assert_eq!(said.len(), known + 2, "and one new part");
            assert_eq!(pair[1].seen_tokens, before);
            assert_eq!(pair[1].think, Nanos::from_secs(2));
        }
    }
    let mut prefixes: BTreeMap<ContentId, u32> = BTreeMap::new();
    for session in &sessions {
        let first = &session.turns[0];
        let uses = prefixes.entry(first.prompt.pieces()[0].content).or_default();
        assert_eq!(first.seen_tokens, Tokens(if *uses == 0 { 0 } else { 1000 }));
        *uses += 1;
    }
    assert!(prefixes.len() <= 12);
    assert!(prefixes.values().max() > Some(&6), "Zipf favours a few: {prefixes:?}");
}

#[test]
fn questions_repeat_the_documents_and_not_each_other() {
    for session in take(&mut source(LONG_CONTEXT, 7), 40) {
        let shared = &session.turns[0].prompt.pieces()[..3];
        assert_eq!(shared[0].len, 50, "the system prompt");
        assert_ne!(shared[1].content, shared[2].content, "two different documents");
        let frame: u32 = shared.iter().map(|piece| piece.len).sum();
        for turn in &session.turns {
            assert_eq!(&turn.prompt.pieces()[..3], shared);
            assert_eq!(turn.prompt.tokens(), Tokens(frame + 30));
        }
        assert_eq!(session.turns[1].seen_tokens, Tokens(frame));
        assert_eq!(session.turns[2].after, [1]);
    }
}

#[test]
fn a_document_has_one_length() {
    let mut lengths = BTreeMap::new();
    for session in take(&mut source(LONG_CONTEXT, 7), 100) {
        for document in &session.turns[0].prompt.pieces()[1..3] {
            let length = lengths.entry(document.content).or_insert(document.len);
            assert_eq!(*length, document.len);
            assert!((200..=900).contains(length));
        }
    }
    assert_eq!(lengths.len(), 20);
}

#[test]
fn sub_agents_run_side_by_side_and_report_to_their_parent() {
    let session = take(&mut source(AGENTIC, 7), 2).remove(1);
    let turns = &session.turns;
    // Turn 0 delegates; turns 1 to 3 and 4 to 6 are the sub-agents; the parent goes on with 7.
    assert_eq!(turns[0].output_tokens, Tokens(40));
    assert_eq!((&turns[1].after, &turns[4].after), (&vec![0], &vec![0]));
    assert_eq!((&turns[2].after, &turns[3].after), (&vec![1], &vec![2]));
    assert_eq!(turns[7].after, [3, 6]);
    assert_eq!((turns[1].think, turns[2].think), (Nanos::ZERO, Nanos::from_millis(250)));
    let parent = turns[7].prompt.pieces();
    let reported: Vec<ContentId> = parent[parent.len() - 2..].iter().map(|p| p.content).collect();
    assert_eq!(reported, [turns[3].output, turns[6].output]);
    assert_eq!(turns[7].seen_tokens, turns[0].prompt.tokens() + turns[0].output_tokens);
    assert_eq!((turns[0].seen_tokens, turns[1].seen_tokens), (Tokens(800), Tokens(800)));
    let last = turns.last().unwrap();
    assert_eq!(last.output_tokens, Tokens(120));
    let calls = turns.len() - 8;
    assert!(calls <= 5);
    assert_eq!(last.prompt.pieces().len(), 2 + 1 + 2 + 2 * calls);
}

#[test]
fn an_agent_without_tools_or_sub_agents_answers_at_once() {
    let yaml = "agentic: {system_tokens: 0, task_tokens: 9, tool_calls: 0, call_tokens: 1, \
                result_tokens: 1, answer_tokens: 5}";
    let mut agents = source(yaml, 0);
    for _ in 0..3 {
        let session = agents.next_session().unwrap();
        assert_eq!(session.turns.len(), 1);
        let turn = &session.turns[0];
        assert_eq!((turn.prompt.tokens(), turn.output_tokens), (Tokens(9), Tokens(5)));
        assert_eq!(turn.seen_tokens, Tokens(0));
    }
}

#[test]
fn a_salt_changes_what_is_asked_and_not_its_structure() {
    let shape = |sessions: &[Session]| -> Vec<_> {
        let turns = sessions.iter().flat_map(|session| &session.turns);
        turns.map(|turn| (turn.prompt.tokens(), turn.seen_tokens, turn.output_tokens)).collect()
    };
    for yaml in [SHARED_PREFIX, LONG_CONTEXT, AGENTIC] {
        let plain = take(&mut source(yaml, 889), 50);
        let salted = |salt| take(&mut Salted::new(source(yaml, 889), salt), 50);
        assert_eq!(salted(None), plain);
        let (one, other) = (salted(Some(1)), salted(Some(2)));
        assert_eq!(one, salted(Some(1)));
        assert_eq!((shape(&one), shape(&other)), (shape(&plain), shape(&plain)));
        // No content is shared, so a cache of another run serves no block.
        let contents = |sessions: &[Session]| -> BTreeSet<ContentId> {
            let turns = sessions.iter().flat_map(|session| &session.turns);
            turns.flat_map(|turn| turn.prompt.pieces().iter().map(|piece| piece.content)).collect()
        };
        assert!(contents(&one).is_disjoint(&contents(&other)));
        assert!(contents(&one).is_disjoint(&contents(&plain)));
        let quoted = |sessions: &[Session]| {
            let of = |session: &Session| {
                let quotes = |turn: &weir_workload::Turn, output: &ContentId| {
                    turn.prompt.pieces().iter().any(|piece| piece.content == *output)
                };
                let outputs: Vec<ContentId> = session.turns.iter().map(|it| it.output).collect();
                let turns = session.turns.iter();
                turns
                    .map(|turn| outputs.iter().filter(|out| quotes(turn, out)).count())
                    .sum::<usize>()
            };
            sessions.iter().map(of).sum::<usize>()
        };
        assert_eq!(quoted(&one), quoted(&plain));
    }
}
