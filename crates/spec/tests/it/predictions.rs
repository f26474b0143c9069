//! Predictions of workloads whose outcome follows from capacities.

use std::path::Path;

use weir_model::{OverheadReason, Remedy, Verdict, VoidReason};
use weir_spec::Experiment;
use weir_spec::plan::{Plan, Prediction, Regime};

/// A pool of 60,000 tokens (8.8 GB).
const POOL: &str = "engine.kv_tokens=60000";

fn plan(sets: &[&str]) -> Plan {
    crate::plan(crate::SMALL, sets).expect("a valid experiment")
}

fn of<'a>(plan: &'a Plan, arm: &str) -> &'a Prediction {
    let index = plan.deployments[0].arms.iter().position(|a| a.name == arm).expect("the arm");
    &plan.cells.iter().find(|cell| cell.arm == index).expect("a cell").prediction
}

#[test]
fn a_shared_prefix_stays_on_the_gpu() {
    let plan = plan(&[POOL]);
    let prediction = of(&plan, "native-offload");
    assert_eq!(prediction.verdict, Verdict::OverheadOnly(OverheadReason::FitsGpu));
    assert_eq!(prediction.regime, Regime::FitsGpu);
    assert_eq!(prediction.remedy, Some(Remedy::ExceedGpu));
}

#[test]
fn prefixes_beyond_the_pool_go_to_a_tier_that_holds_them() {
    let plan = plan(&[
        POOL,
        "workload.shared-prefix.prefixes=100",
        "load={users: 8, duration: 600s}",
        "arms=[no-offload, native-offload, {preset: native-offload, name: small, bytes: 5000 tokens}, \
         {preset: lmcache-kvrocks, bytes: 1000 tokens, store: {bytes: 30000 tokens}}]",
    ]);
    // 100 prefixes of 1,000 tokens.
    let working_set = of(&plan, "native-offload").working_set.unwrap().0 as f64 / 147_456.0;
    assert!((95_000.0..=100_000.0).contains(&working_set), "{working_set} tokens");
    assert_eq!(of(&plan, "no-offload").regime, Regime::Overflows);
    assert_eq!(of(&plan, "no-offload").verdict, Verdict::Control);
    assert_eq!(of(&plan, "native-offload").regime, Regime::FitsTier);
    assert_eq!(of(&plan, "native-offload").verdict, Verdict::Effective);
    let small = of(&plan, "small");
    assert_eq!(small.verdict, Verdict::OverheadOnly(OverheadReason::TierTooSmall));
    assert_eq!(small.remedy, Some(Remedy::LargerTier(small.working_set)));
    // A store without eviction keeps what came first, which is still requested.
    assert_eq!(of(&plan, "lmcache-kvrocks").verdict, Verdict::Effective);
}

#[test]
fn a_window_that_ends_before_reuse_is_not_held_by_the_gpu() {
    let of_duration = |load: &str| {
        let plan = plan(&[POOL, "workload.shared-prefix.prefixes=100", load]);
        of(&plan, "native-offload").clone()
    };
    assert_eq!(of_duration("load={users: 1, duration: 600s}").regime, Regime::FitsTier);
    let short = of_duration("load={users: 1, duration: 2s, warmup: 1s}");
    assert_eq!(short.regime, Regime::EndsBeforeReuse);
    let reason = OverheadReason::NoReuseInWindow;
    assert_eq!(short.verdict, Verdict::OverheadOnly(reason));
    assert_eq!(short.remedy, Some(Remedy::LongerOrMoreUsers));
}

#[test]
fn a_chunk_longer_than_what_requests_have_is_predicted_to_serve_nothing() {
    let of_chunk = |tokens: u32| {
        let arm = format!("arms=[no-offload, {{preset: native-offload, chunk_tokens: {tokens}}}]");
        let long = "load={users: 8, duration: 600s}";
        let plan = plan(&[POOL, "workload.shared-prefix.prefixes=100", long, &arm]);
        of(&plan, "native-offload").clone()
    };
    assert_eq!(of_chunk(512).verdict, Verdict::Effective);
    // Prefixes have 1,000 tokens.
    let shared = of_chunk(1024);
    assert_eq!(shared.verdict, Verdict::OverheadOnly(OverheadReason::ChunkTooLong));
    assert_eq!(shared.remedy, Some(Remedy::ShorterChunks { longest: 1000 }));
    let long = of_chunk(2048);
    assert_eq!(long.verdict, Verdict::Void(VoidReason::NoOperation));
    let longest = long.longest_offer.unwrap();
    assert!(longest < 2048, "{longest}");
    assert_eq!(long.remedy, Some(Remedy::LongerPrompts));
}

#[test]
fn without_reuse_the_remedy_is_another_workload() {
    let plan = plan(&[
        POOL,
        "workload.shared-prefix={prefixes: 1000000, prefix_tokens: 1000, turns: 1, \
         prompt_tokens: 50, output_tokens: 10}",
    ]);
    assert_eq!(of(&plan, "native-offload").remedy, Some(Remedy::AddReuse));
}

#[test]
fn conversations_that_outgrow_the_pool_come_back_from_the_tier() {
    let plan = plan(&[
        POOL,
        "workload.shared-prefix={prefixes: 1, prefix_tokens: 100, turns: 8, prompt_tokens: 1000, \
         output_tokens: 200, think: 10s}",
        "load={users: 40, duration: 600s}",
    ]);
    assert_eq!(of(&plan, "native-offload").verdict, Verdict::Effective);
    assert_eq!(of(&plan, "native-offload").regime, Regime::FitsTier);
}

#[test]
fn routing_by_prefix_needs_a_choice_and_something_to_choose_by() {
    let arms = "arms=[no-offload, llm-d-random, llm-d-inmemory, \
                {preset: native-offload, name: both, routing: llm-d-inmemory}]";
    let many = "workload.shared-prefix.prefixes=100";
    let load = "load={users: 16, duration: 600s}";
    let alone = plan(&[POOL, arms, many, load]);
    for arm in ["llm-d-random", "llm-d-inmemory", "both"] {
        assert_eq!(of(&alone, arm).verdict, Verdict::Void(VoidReason::NoChoice), "{arm}");
    }
    let four = plan(&[POOL, arms, many, load, "replicas=4"]);
    assert_eq!(of(&four, "llm-d-random").verdict, Verdict::Control);
    assert_eq!(of(&four, "llm-d-inmemory").verdict, Verdict::Effective);
    // Routed by prefix, each replica's part fits its pool: nothing is left for the tiers.
    assert_eq!(of(&four, "both").verdict, Verdict::OverheadOnly(OverheadReason::FitsGpu));
}

#[test]
fn other_workloads_are_predicted_too() {
    for workload in [
        "workload.long-context={documents: 100, document_tokens: 3000, questions: 3, \
         question_tokens: 50, output_tokens: 50}",
        "workload.agentic={system_tokens: 2000, task_tokens: 200, tool_calls: 6, call_tokens: 50, \
         result_tokens: 800, answer_tokens: 100}",
    ] {
        let plan = plan(&[POOL, workload, "load={users: 30, duration: 600s}"]);
        assert_eq!(of(&plan, "native-offload").verdict, Verdict::Effective, "{workload}");
    }
}

#[test]
fn predictions_are_the_same_every_time() {
    let sets = ["replicas=3", "arms=[llm-d-random, llm-d-approx]", "load.users=20"];
    assert_eq!(plan(&sets).cells, plan(&sets).cells);
}

/// At most the size of the GPU's cache is known.
#[test]
fn the_regime_of_an_endpoint_is_known_as_far_as_its_pool_is() {
    let regime = |pool_tokens: Option<u64>, prefixes: u64| {
        let engine = pool_tokens.map_or(String::new(), |held| format!("kv_tokens: {held}"));
        let text = format!(
            "{{name: load, models: [model], hardware: endpoint, arms: [as-deployed], target: \
             {{endpoint: {{url: 'http://host:8000'}}}}, engine: {{{engine}}}, load: {{users: 4, \
             duration: 10s}}, workload: {{shared-prefix: {{prefixes: {prefixes}, prefix_tokens: \
             1000, prompt_tokens: 10, output_tokens: 1}}}}}}"
        );
        let experiment = Experiment::parse(&text, "load.yaml", Path::new(""), &[]).unwrap();
        let plan = Plan::resolve(&experiment);
        let prediction = plan.unwrap().cells[0].prediction.clone();
        assert_eq!(prediction.working_set, None);
        prediction.regime
    };
    assert_eq!(regime(None, 8), Regime::Unknown);
    assert_eq!(regime(Some(20_000), 8), Regime::FitsGpu);
    // Three times what the cache holds.
    assert_eq!(regime(Some(20_000), 60), Regime::ExceedsGpu);
}
