use proptest::prelude::*;
use weir_model::{Nanos, Tokens};
use weir_workload::config::{
    Agentic, Count, Draw, Length, LongContext, OverContext, SharedPrefix, TraceFile, TraceFormat,
};
use weir_workload::{SourceOptions, WorkloadConfig, open};

use crate::{AGENTIC, LONG_CONTEXT, SHARED_PREFIX, message, options, workload};

#[test]
fn bare_forms_and_defaults_are_read() {
    let read = workload(
        "shared-prefix: {prefixes: {per_user: 2}, prefix_tokens: 10000, prompt_tokens: 141, \
         output_tokens: {fixed: 128}}",
    );
    let expected = SharedPrefix {
        prefixes: Count::PerUser(2),
        draw: Draw::Uniform,
        prefix_tokens: 10_000,
        turns: 1,
        prompt_tokens: Length::Fixed(141),
        output_tokens: Length::Fixed(128),
        think: Nanos::ZERO,
    };
    assert_eq!(read, WorkloadConfig::SharedPrefix(expected));
    assert!(read.is_per_user());
    let WorkloadConfig::SharedPrefix(resolved) = read.resolve_users(50) else { panic!() };
    assert_eq!(resolved.prefixes, Count::Absolute(100));
}

#[test]
fn an_experiment_file_reads_a_trace() {
    let read = workload(
        "trace: {format: mooncake, path: traces/t.jsonl, limit: 5000, over_context: skip}",
    );
    let expected = TraceFile {
        format: TraceFormat::Mooncake,
        path: "traces/t.jsonl".to_owned(),
        block_tokens: None,
        time_unit: None,
        limit: Some(5000),
        over_context: OverContext::Skip,
    };
    assert_eq!(read, WorkloadConfig::Trace(expected));
    let short = workload("trace: {format: azure2023, path: t.csv}");
    let WorkloadConfig::Trace(short) = short else { panic!() };
    assert_eq!((short.limit, short.over_context), (None, OverContext::Reject));
}

fn yaml_error(yaml: &str) -> String {
    let error = serde_saphyr::from_str::<WorkloadConfig>(yaml).unwrap_err();
    let error = error.without_snippet().to_string();
    error.lines().next().unwrap_or_default().to_owned()
}

/// Wrong values of three keys, and a part of the message that each must give.
const WRONG_NOTATION: &[(&str, &str, &str, &str)] = &[
    ("line 2", "prefixes", "many", "a count such as `12`, `{per_user: 2}` or `{times_gpu: 1.5}`"),
    ("line 2", "prefixes", "-3", "a count such as `12`, `{per_user: 2}` or `{times_gpu: 1.5}`"),
    ("line 2", "prefixes", "{per_users: 2}", "per_users"),
    ("line 2", "prefixes", "{per_user: 2, x: 1}", "unexpected key `x`"),
    ("line 2", "prefixes", "{}", "an empty map is not a count"),
    ("line 3", "draw", "zipf", "`zipf` needs its exponent"),
    ("line 3", "draw", "random", "`random`"),
    ("line 3", "draw", "{zipf: {s: 1}}", "`s`"),
    ("line 5", "prompt_tokens", "{gauss: 3}", "`gauss`"),
    ("line 5", "prompt_tokens", "1.5", "a number such as `128`"),
    ("line 5", "prompt_tokens", "5000000000", "a number such as `128`"),
    ("line 5", "prompt_tokens", "{uniform: {min: 1}}", "`max`"),
    ("line 5", "prompt_tokens", "{uniform: {min: 1, max: 2, mean: 1}}", "`mean`"),
    ("line 5", "prompt_tokens", "{fixed: 1, uniform: {min: 1, max: 2}}", "one form only"),
    ("line 7", "think", "2", "duration"),
    ("line 7", "think", "fast", "`fast` is not a duration"),
];

#[test]
fn wrong_notation_is_refused_with_its_place() {
    for (place, key, value, part) in WRONG_NOTATION {
        let pick = |name: &str, good: &str| {
            format!("  {name}: {}\n", if name == *key { *value } else { good })
        };
        let text = "shared-prefix:\n".to_owned()
            + &pick("prefixes", "1")
            + &pick("draw", "uniform")
            + "  prefix_tokens: 5\n"
            + &pick("prompt_tokens", "1")
            + "  output_tokens: 1\n"
            + &pick("think", "1s");
        let error = yaml_error(&text);
        assert!(error.contains(part), "`{part}` is not in: {error}");
        assert!(error.contains(place), "`{place}` is not in: {error}");
    }
}

#[test]
fn unknown_keys_are_refused_with_their_place() {
    let error = yaml_error("shared-prefix:\n  prefixes: 1\n  turn: 2\n");
    assert!(error.contains("unknown field `turn`") && error.contains("line 3"), "{error}");
    let error = yaml_error("trace:\n  format: mooncake\n  path: x\n  think: 1s\n");
    assert!(error.contains("unknown field `think`") && error.contains("line 4"), "{error}");
}

/// Keys of a section of shared prefixes, and the message that they must give.
const IMPOSSIBLE: &[(&str, &str)] = &[
    ("prefixes: 0, output_tokens: 1", ".prefixes` must be at least 1"),
    ("prefixes: {per_user: 0}, output_tokens: 1", ".prefixes` must be at least 1"),
    ("prefixes: 1, output_tokens: 0", ".output_tokens` must be at least 1"),
    (
        "prefixes: 1, output_tokens: {uniform: {min: 9, max: 3}}",
        ".output_tokens.uniform` has min 9 above max 3: swap them",
    ),
    (
        "prefixes: 1, output_tokens: {normal: {mean: 5, stddev: -1, min: 1, max: 9}}",
        ".output_tokens.normal.stddev` is -1; it must be a number of at least 0",
    ),
    (
        "prefixes: 1, output_tokens: {normal: {mean: .nan, stddev: 1, min: 1, max: 9}}",
        ".output_tokens.normal.mean` is NaN; it must be a number of at least 0",
    ),
    (
        "prefixes: 1, output_tokens: {lognormal: {median: 5, sigma: 1, min: 0, max: 9}}",
        ".output_tokens` can be 0; set its min to at least 1",
    ),
    (
        "prefixes: 1, output_tokens: {lognormal: {median: 0, sigma: 1, min: 1, max: 9}}",
        ".output_tokens.lognormal.median` is 0; it must be a number of at least 1",
    ),
    (
        "prefixes: 1, output_tokens: 1, draw: {zipf: {exponent: 0}}",
        ".draw.zipf.exponent` is 0; it must be a number above 0 (`draw: uniform` for none)",
    ),
    ("prefixes: 1, output_tokens: 1, turns: 0", ".turns` must be at least 1"),
    ("prefixes: 1, output_tokens: 1, turns: 1001", ".turns` is 1001, more than 1000"),
    (
        "prefixes: 1, output_tokens: 1000000, turns: 1000",
        "` can ask for 1000005010 tokens in one request, more than 67108864: lower \
         `prefix_tokens`, `turns`, `prompt_tokens` or `output_tokens`",
    ),
];

#[test]
fn impossible_values_are_refused_by_key() {
    let refused = |yaml: &str| message(workload(yaml).validate());
    for (keys, expected) in IMPOSSIBLE {
        let yaml = format!("shared-prefix: {{prefix_tokens: 10, prompt_tokens: 5, {keys}}}");
        assert_eq!(refused(&yaml), format!("`workload.shared-prefix{expected}"));
    }
    assert_eq!(
        refused("trace: {format: mooncake, path: ''}"),
        "`workload.trace.path` is empty: write the path of the trace file"
    );
    assert_eq!(
        refused("trace: {format: mooncake, path: x, block_tokens: 0}"),
        "`workload.trace.block_tokens` must be from 1 to 1048576; leave it out to have it found"
    );
    assert_eq!(
        refused("trace: {format: azure2023, path: x, time_unit: s}"),
        "`workload.trace.time_unit` applies to `format: mooncake` only; leave it out"
    );
    assert_eq!(
        refused("trace: {format: mooncake, path: x, limit: 0}"),
        "`workload.trace.limit` must be at least 1; leave it out for all requests"
    );
}

#[test]
fn long_context_and_agents_are_checked_too() {
    let documents = "long-context: {documents: 2, document_tokens: 9, documents_per_prompt: 3, \
                     question_tokens: 1, output_tokens: 1}";
    assert_eq!(
        message(workload(documents).validate()),
        "`workload.long-context.documents_per_prompt` is 3, but there are only 2 documents to \
         choose from"
    );
    let agents = "agentic: {system_tokens: 0, task_tokens: 1, tool_calls: 3, call_tokens: 1, \
                  result_tokens: 1, sub_agents: 100, sub_agent_calls: 50, answer_tokens: 1}";
    assert_eq!(
        message(workload(agents).validate()),
        "`workload.agentic.sub_agents` make a task of up to 5105 turns, more than 4000: lower \
         `sub_agents` or `sub_agent_calls`"
    );
}

#[test]
fn sources_need_a_resolved_count_and_a_context() {
    let per_user = "shared-prefix: {prefixes: {per_user: 2}, prefix_tokens: 10, prompt_tokens: 5, \
                    output_tokens: 1}";
    assert_eq!(
        message(open(&workload(per_user), &options(0))),
        "`workload.shared-prefix.prefixes` is per user, but this load has no users: write a \
         plain number"
    );
    let small = SourceOptions { max_model_len: Tokens(4096), ..options(0) };
    let config = workload(SHARED_PREFIX);
    assert_eq!(config.longest_request(), Some(1000 + 4 * (400 + 600)));
    assert_eq!(
        message(open(&config, &small)),
        "`workload.shared-prefix` can ask for 5000 tokens in one request, answer included, but \
         the model's context holds 4096: lower `prefix_tokens`, `turns`, `prompt_tokens` or \
         `output_tokens`"
    );
    let exact = SourceOptions { max_model_len: Tokens(5000), ..options(0) };
    assert!(open(&config, &exact).is_ok());
}

#[test]
fn the_schema_names_every_form() {
    let schema = schemars::schema_for!(WorkloadConfig).to_value().to_string();
    let parts =
        ["per_user", "lognormal", "round-robin", "zipf", "shared-prefix", "azure2023", "truncate"];
    for part in parts {
        assert!(schema.contains(part), "{part} is not in {schema}");
    }
}

fn length() -> impl Strategy<Value = Length> {
    let bounds = || (1u32..1000, 0u32..1000).prop_map(|(min, more)| (min, min + more));
    prop_oneof![
        (1u32..5000).prop_map(Length::Fixed),
        bounds().prop_map(|(min, max)| Length::Uniform { min, max }),
        (bounds(), 0u32..9000, 0u32..9000).prop_map(|((min, max), mean, stddev)| {
            let (mean, stddev) = (f64::from(mean) / 8.0, f64::from(stddev) / 8.0);
            Length::Normal { mean, stddev, min, max }
        }),
        (bounds(), 8u32..9000, 0u32..64).prop_map(|((min, max), median, sigma)| {
            let (median, sigma) = (f64::from(median) / 8.0, f64::from(sigma) / 8.0);
            Length::Lognormal { median, sigma, min, max }
        }),
    ]
}

fn draw() -> impl Strategy<Value = Draw> {
    prop_oneof![
        Just(Draw::Uniform),
        Just(Draw::RoundRobin),
        (1u32..64).prop_map(|exponent| Draw::Zipf { exponent: f64::from(exponent) / 16.0 }),
    ]
}

fn count() -> impl Strategy<Value = Count> {
    prop_oneof![(1u64..999).prop_map(Count::Absolute), (1u64..99).prop_map(Count::PerUser)]
}

fn think() -> impl Strategy<Value = Nanos> {
    (0u64..1 << 52).prop_map(Nanos)
}

fn any_workload() -> impl Strategy<Value = WorkloadConfig> {
    let shared = (count(), draw(), 1u32..9999, 1u32..9, length(), length(), think()).prop_map(
        |(prefixes, draw, prefix_tokens, turns, prompt_tokens, output_tokens, think)| {
            WorkloadConfig::SharedPrefix(SharedPrefix {
                prefixes,
                draw,
                prefix_tokens,
                turns,
                prompt_tokens,
                output_tokens,
                think,
            })
        },
    );
    let long = (count(), draw(), length(), 1u32..5, length(), think()).prop_map(
        |(documents, draw, document_tokens, questions, question_tokens, think)| {
            WorkloadConfig::LongContext(LongContext {
                documents,
                draw,
                document_tokens,
                documents_per_prompt: 1,
                system_tokens: 7,
                questions,
                question_tokens,
                output_tokens: document_tokens,
                think,
            })
        },
    );
    let agents = (length(), length(), 0u32..9, think()).prop_map(
        |(task_tokens, result_tokens, sub_agents, tool_time)| {
            WorkloadConfig::Agentic(Agentic {
                system_tokens: 9,
                task_tokens,
                tool_calls: Length::Uniform { min: 0, max: 4 },
                call_tokens: task_tokens,
                result_tokens,
                tool_time,
                sub_agents,
                sub_agent_calls: Length::Fixed(2),
                answer_tokens: task_tokens,
            })
        },
    );
    prop_oneof![shared, long, agents]
}

proptest! {
    #[test]
    fn what_is_written_reads_as_the_same(config in any_workload()) {
        prop_assert_eq!(config.validate(), Ok(()));
        let json = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(&serde_json::from_str::<WorkloadConfig>(&json).unwrap(), &config);
        let yaml = serde_saphyr::to_string(&config).unwrap();
        prop_assert_eq!(&serde_saphyr::from_str::<WorkloadConfig>(&yaml).unwrap(), &config);
    }
}

#[test]
fn the_examples_of_these_tests_are_valid() {
    for yaml in [SHARED_PREFIX, LONG_CONTEXT, AGENTIC] {
        assert_eq!(workload(yaml).validate(), Ok(()), "{yaml}");
    }
}
