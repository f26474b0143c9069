//! A run described in words.

use std::collections::BTreeMap;
use std::path::Path;

use weir_model::{
    Bytes, CellFailure, Claim, Claimed, Note, OffloadReason, OverheadReason, Remedy, SignalKind,
    SignalSource, Signals, TierKind, TokenShare, Verdict,
};
use weir_record::CellStatus;
use weir_report::comparison::Comparison;
use weir_report::explanation::{CellNotes, Scope, explain};
use weir_report::oracle::judge;
use weir_report::results::AnswerCount;
use weir_report::results::Results;
use weir_spec::Experiment;

use weir_spec::plan::{EmulatedTarget, LocalTarget, Plan};

use crate::fixture;

const ENGINE: &str = "vLLM's /metrics";
const LMCACHE: &str = "LMCache server's /metrics";
const CLIENT: &str = "load generator";

/// Arms with real offload settings, on a live target.
pub(crate) fn plan() -> Plan {
    let text = "\
name: offload
models: [Qwen/Qwen3-8B]
hardware: 2x-l40s
arms: [native-offload, lmcache-redis]
workload:
  shared-prefix: {prefixes: 4, prefix_tokens: 1000, prompt_tokens: 100, output_tokens: 20}
load: {users: [2], duration: 10s}
";
    let resolved =
        Plan::resolve(&Experiment::parse(text, "test", Path::new(""), &[]).unwrap()).unwrap();
    let mut deployment = fixture::deployment();
    for (arm, of) in [(2, 0), (3, 1)] {
        deployment.arms[arm].offload.clone_from(&resolved.deployments[0].arms[of].offload);
    }
    Plan { target: LocalTarget::default().into(), ..fixture::plan_of(deployment, 2) }
}

/// Signals of Redis about itself.
fn add_info(signals: &mut Signals) {
    for (kind, value, field) in [
        (SignalKind::StoredBytes, 4.05e10, "total_net_input_bytes"),
        (SignalKind::EvictedBytes, 2e10, "evicted_keys"),
        (SignalKind::StoreFailures, 24.0, "errorstat_OOM 24"),
        (SignalKind::TierUsedBytes, 3e10, "used_memory"),
    ] {
        let source = SignalSource::of("redis INFO").metric(field);
        signals.add_of(TierKind::Remote, kind, value, source);
    }
}

/// Signals of a small live run: native offloading at c50 and c300, Redis that keeps nothing at c50
/// and contradicts the engine at c300, and an arm that died.
fn results(plan: &Plan) -> Results<'_> {
    let mut results = fixture::results(plan);
    for result in &mut results.cells {
        let cell = &plan.cells[result.cell];
        let arm = plan.deployments[0].arms[cell.arm].name.as_str();
        let evidence = result.evidence.as_mut().unwrap();
        let mut signals = Signals::default();
        let mut add = |kind, value, who: &str| signals.add(kind, value, who);
        add(SignalKind::PromptTokens, 500_000.0, ENGINE);
        add(SignalKind::PromptTokens, 499_000.0, CLIENT);
        add(SignalKind::SeenTokens, 400_000.0, CLIENT);
        add(SignalKind::GpuHitTokens, 150_000.0, ENGINE);
        add(SignalKind::EligibleTokens, 250_000.0, CLIENT);
        match arm {
            "native-offload" => {
                add(SignalKind::ExternalHitTokens, 200_000.0, ENGINE);
                add(SignalKind::HostHitTokens, 200_000.0, ENGINE);
                add(SignalKind::StoredBytes, 4e10, ENGINE);
                add(SignalKind::LoadedBytes, 3e10, ENGINE);
            }
            "lmcache-redis" => {
                let served = if cell.level == 2 { 100_000.0 } else { 0.0 };
                add(SignalKind::ExternalHitTokens, served, ENGINE);
                add(SignalKind::ExternalHitTokens, 5_000.0, LMCACHE);
                add(SignalKind::StoredBytes, 4e10, LMCACHE);
                add(SignalKind::StoreKeys, 1234.0, "redis");
                add(SignalKind::Preemptions, 3.0, ENGINE);
                let lookups = SignalSource::of(LMCACHE).metric("l1_tokens_total").at_lookup();
                signals.add(SignalKind::HostHitTokens, 300_000.0, lookups);
                add_info(&mut signals);
                evidence.verdict = Verdict::OverheadOnly(OverheadReason::Evicted);
                evidence.claims = vec![
                    Claim {
                        claim: Claimed::FarthestServed {
                            tier: TierKind::Remote,
                            tokens: Some(0.0),
                        },
                        held: Some(false),
                    },
                    Claim { claim: Claimed::Stored { bytes: None }, held: None },
                ];
                let served = TokenShare { part: 0.0, whole: 1e5 };
                let evicted = Bytes(20_000_000_000);
                evidence.reason = Some(OffloadReason::Evicted { evicted, served }.into());
                evidence.remedy = Some(Remedy::LargerTier(None));
                evidence.notes = vec![Note::Error("A metric restarted".to_owned())];
            }
            _ => {}
        }
        evidence.signals = signals;
        evidence.predicted = false;
        if arm == "llm-d-approx" {
            result.record.status =
                CellStatus::Failed(CellFailure::Error("vllm-0 died: out of memory".to_owned()));
            result.evidence = None;
        }
        result.answers = (arm != "no-offload").then(|| AnswerCount {
            compared: 30,
            mismatches: if arm == "native-offload" && cell.level == 2 { 20 } else { 0 },
            ..AnswerCount::default()
        });
    }
    judge(&mut results);
    results
}

fn told(plan: &Plan) -> BTreeMap<usize, CellNotes> {
    let left = |(index, cell): (usize, &weir_spec::plan::Cell)| {
        let told = CellNotes {
            started: vec!["vllm-0: version 0.32.0, 12800 KV tokens".to_owned()],
            prepared: vec!["all caches were seen empty".to_owned()],
            notes: vec![Note::Error("A metric restarted".to_owned())],
        };
        (cell.arm == 3).then_some((index, told))
    };
    plan.cells.iter().enumerate().filter_map(left).collect()
}

#[test]
fn a_run_is_told_with_its_sources_and_their_quarrels() {
    let plan = plan();
    let results = results(&plan);
    let comparison = Comparison::of(&results).unwrap();
    let text = explain(&results, &comparison, &told(&plan), Scope::default()).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn one_arm_and_one_level_are_told_alone() {
    let plan = plan();
    let results = results(&plan);
    let comparison = Comparison::of(&results).unwrap();
    let scope = Scope { arm: Some("native-offload"), level: Some("c50") };
    let text = explain(&results, &comparison, &BTreeMap::new(), scope).unwrap();
    assert!(
        text.contains("native-offload (against no-offload)") && text.contains("c50 (50 users)")
    );
    for absent in ["lmcache-redis", "c300", "no-offload (the control)", "Decision"] {
        assert!(!text.contains(absent), "{absent} is in\n{text}");
    }
}

/// Bytes of a scaled emulated run are the model's; the device read fewer.
#[test]
fn scaled_bytes_are_told_as_the_models() {
    let scaled = |byte_scale: f64| {
        let target = EmulatedTarget { byte_scale, ..EmulatedTarget::default() };
        let plan = Plan { target: target.into(), ..plan() };
        let mut results = results(&plan);
        for result in &mut results.cells {
            let Some(evidence) = &mut result.evidence else { continue };
            let read = SignalSource::of("kernel").metric("read_bytes");
            evidence.signals.add(SignalKind::RemoteHitTokens, 1e5, ENGINE);
            evidence.signals.add_of(TierKind::Remote, SignalKind::DeviceReadBytes, 5e9, read);
        }
        let comparison = Comparison::of(&results).unwrap();
        let text = explain(&results, &comparison, &BTreeMap::new(), Scope::default()).unwrap();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let told = scaled(0.01);
    assert!(told.contains("read there: 9.3 GiB"), "{told}");
    assert!(told.contains("(the model's bytes; 0.01 of them were moved)"), "{told}");
    assert!(!scaled(1.0).contains("of them were moved"));
}

#[test]
fn what_has_not_run_and_what_was_predicted_is_told_too() {
    let plan = fixture::plan();
    let mut results = fixture::results(&plan);
    results.cells.retain(|result| plan.cells[result.cell].level == 0);
    let comparison = Comparison::of(&results).unwrap();
    let text = explain(&results, &comparison, &BTreeMap::new(), Scope::default()).unwrap();
    assert!(text.contains("what the model predicts"), "{text}");
    assert!(text.contains("c300 (300 users): not run; 0 of 3 repeats count."), "{text}");
    assert!(text.contains("To see an effect: `replicas: 2` or more."), "{text}");
}
