use std::collections::BTreeSet;
use std::io::Write as _;

use proptest::prelude::*;
use weir_model::{Piece, Prompt};
use weir_workload::{Session, SessionSource, SourceOptions, Turn, open};

use crate::{options, source, take, workload};

/// Two contents agree in a token by chance once in 2^32.
const VOCABULARY: u32 = u32::MAX;

fn tokens(turn: &Turn) -> (Vec<u32>, Vec<u32>) {
    let prompt: Vec<u32> = turn.prompt.token_ids(VOCABULARY).collect();
    let answer = Prompt::new([Piece::new(turn.output, turn.output_tokens.get())]);
    let mut all = prompt.clone();
    all.extend(answer.token_ids(VOCABULARY));
    (prompt, all)
}

/// An unlimited cache of blocks that keeps whole prefixes and compares all tokens.
fn check(sessions: &[Session], block: usize) {
    let mut cache: BTreeSet<Vec<u32>> = BTreeSet::new();
    for turn in sessions.iter().flat_map(|session| &session.turns) {
        let (prompt, all) = tokens(turn);
        let full =
            |tokens: &[u32]| (1..=tokens.len() / block).map(|n| n * block).collect::<Vec<_>>();
        let hits = full(&prompt).iter().take_while(|end| cache.contains(&prompt[..**end])).count();
        assert_eq!(turn.seen_tokens.get() as usize / block, hits, "in blocks of {block}");
        cache.extend(full(&all).iter().map(|end| all[..*end].to_vec()));
    }
}

fn small_workload() -> impl Strategy<Value = String> {
    let length = || (1u32..7, 0u32..7);
    let shared = (1u64..5, 1u32..20, 1u32..4, length(), length()).prop_map(
        |(prefixes, prefix, turns, prompt, output)| {
            format!(
                "shared-prefix: {{prefixes: {prefixes}, prefix_tokens: {prefix}, turns: {turns}, \
                 prompt_tokens: {{uniform: {{min: {}, max: {}}}}}, \
                 output_tokens: {{uniform: {{min: {}, max: {}}}}}}}",
                prompt.0,
                prompt.0 + prompt.1,
                output.0,
                output.0 + output.1
            )
        },
    );
    let long = (3u64..6, 1u32..4, 0u32..5, 1u32..3, length()).prop_map(
        |(documents, per_prompt, system, questions, length)| {
            format!(
                "long-context: {{documents: {documents}, documents_per_prompt: {per_prompt}, \
                 document_tokens: {{uniform: {{min: {}, max: {}}}}}, system_tokens: {system}, \
                 questions: {questions}, question_tokens: 3, output_tokens: 2}}",
                length.0,
                length.0 + length.1
            )
        },
    );
    let agents =
        (0u32..12, 0u32..3, 0u32..3, length()).prop_map(|(system, sub_agents, calls, length)| {
            format!(
                "agentic: {{system_tokens: {system}, task_tokens: 4, tool_calls: {{uniform: \
                 {{min: 0, max: 3}}}}, call_tokens: 2, result_tokens: {{uniform: {{min: {}, \
                 max: {}}}}}, sub_agents: {sub_agents}, sub_agent_calls: {calls}, \
                 answer_tokens: 5}}",
                length.0,
                length.0 + length.1
            )
        });
    prop_oneof![shared, long, agents]
}

/// A Mooncake trace whose ids repeat with and without the same history.
fn small_trace() -> impl Strategy<Value = String> {
    let request = (prop::collection::vec(0u64..4, 1..4), 1u32..512);
    prop::collection::vec(request, 1..12).prop_map(|requests| {
        let lines = requests.into_iter().map(|(ids, last)| {
            let input = 512 * (ids.len() as u32 - 1) + last;
            format!(
                "{{\"timestamp\": 0, \"input_length\": {input}, \"output_length\": 3, \
                 \"hash_ids\": {ids:?}}}\n"
            )
        });
        lines.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn generators_see_what_a_cache_without_limits_holds(
        yaml in small_workload(),
        seed: u64,
        block in prop::sample::select(vec![1usize, 2, 4, 16]),
    ) {
        check(&take(&mut source(&yaml, seed), 25), block);
    }

    #[test]
    fn traces_see_what_a_cache_without_limits_holds(
        trace in small_trace(),
        context in 40u32..1600,
        block in prop::sample::select(vec![1usize, 16, 100, 512]),
    ) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(trace.as_bytes()).unwrap();
        let yaml = format!(
            "trace: {{format: mooncake, path: {}, over_context: truncate}}",
            file.path().display()
        );
        let options = SourceOptions { max_model_len: weir_model::Tokens(context), ..options(1) };
        let mut source = open(&workload(&yaml), &options).unwrap();
        let sessions: Vec<Session> = std::iter::from_fn(|| source.next_session()).collect();
        prop_assert_eq!(sessions.len(), trace.lines().count());
        prop_assert_eq!(source.error(), None);
        check(&sessions, block);
    }
}
