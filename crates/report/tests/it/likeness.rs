//! Arms that differ in more than their mechanism, on evidence recorded from real vLLM.

use std::fs;
use std::path::{Path, PathBuf};

use weir_model::{Differing, FactKind, FactSource, FactValue, FailureReason, Verdict};
use weir_record::{CellStatus, Evidence};
use weir_report::artifacts::report;
use weir_report::comparison::Comparison;
use weir_report::explanation::{Scope, explain};
use weir_report::likeness::judge;
use weir_report::oracle;
use weir_report::results::{AnswerCount, CellResult, Provenance, Results};
use weir_report::tables::software_sentences;
use weir_spec::Experiment;
use weir_spec::likeness::against_plan;
use weir_spec::plan::{EndpointTarget, Plan};

use crate::fixture;

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/recorded").join(name)
}

fn evidence(run: &str, arm: &str) -> Evidence {
    let text = fs::read_to_string(recorded(run).join(format!("{arm}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The plan of the recorded run; without the control's own arguments where `healthy`.
fn plan(healthy: bool) -> Plan {
    let text = fs::read_to_string(recorded("unlike/experiment.yaml")).unwrap();
    let crippled = "{preset: no-offload, vllm_args: [--no-enable-prefix-caching]}";
    assert!(text.contains(crippled));
    let text = if healthy { text.replace(crippled, "no-offload") } else { text };
    let experiment = Experiment::parse(&text, "experiment.yaml", Path::new(""), &[]).unwrap();
    Plan::resolve(&experiment).unwrap()
}

/// The A/A arm's evidence is that of a healthy control.
fn results(plan: &Plan, healthy: bool) -> Results<'_> {
    let cell = |index: usize| {
        let arm = &plan.deployments[0].arms[plan.cells[index].arm].name;
        let mut result = fixture::result_of(plan, index);
        let recorded = if healthy && arm == "no-offload" { "no-offload-aa" } else { arm };
        result.evidence = Some(evidence("unlike", recorded));
        result
    };
    let cells = (0..plan.cells.len()).map(cell).collect();
    let mut results = Results { plan, provenance: Provenance::default(), cells };
    judge(&mut results);
    results
}

fn verdict(results: &Results<'_>, arm: &str) -> Verdict {
    let arms = &results.plan.deployments[0].arms;
    let is_arm = |index: usize| arms[results.plan.cells[index].arm].name == arm;
    results.cells.iter().find(|result| is_arm(result.cell)).unwrap().verdict()
}

fn differs(results: &Results<'_>, arm: &str) -> Vec<Differing> {
    let arms = &results.plan.deployments[0].arms;
    let is_arm = |index: usize| arms[results.plan.cells[index].arm].name == arm;
    let result = results.cells.iter().find(|result| is_arm(result.cell)).unwrap();
    result.unlike.iter().map(|difference| difference.differs.clone()).collect()
}

#[test]
fn nobody_gains_over_a_control_without_a_cache() {
    let plan = plan(false);
    let results = results(&plan, false);
    assert_eq!(verdict(&results, "no-offload"), Verdict::Control);
    for arm in ["no-offload-aa", "native-offload", "big-pool", "bf16", "lmcache-local"] {
        assert!(matches!(verdict(&results, arm), Verdict::Failed(_)), "{arm}");
        assert_eq!(differs(&results, arm)[0], Differing::Fact(FactKind::PrefixCaching), "{arm}");
    }
    let seen = Comparison::of(&results).unwrap();
    let of = &seen.deployments[0];
    assert!(of.decision.recommended.is_empty(), "{:?}", of.decision);
    assert!(of.groups.iter().all(|group| group.arm == "no-offload" || group.counted == 0));
    let control = &of.software.arms[0];
    assert_eq!(control.vllm_args, ["--no-enable-prefix-caching"]);
    let off = control.facts[&FactKind::PrefixCaching].first();
    assert_eq!(off, Some(&FactValue::Flag(false)));
}

#[test]
fn arms_that_differ_in_their_mechanism_alone_count() {
    let plan = plan(true);
    let results = results(&plan, true);
    assert_eq!(verdict(&results, "no-offload-aa"), Verdict::Control);
    assert_eq!(verdict(&results, "native-offload"), Verdict::Effective);
    assert_eq!(verdict(&results, "lmcache-local"), Verdict::Effective);
    assert_eq!(differs(&results, "big-pool"), [Differing::Fact(FactKind::Blocks)]);
    let types = [FactKind::Dtype, FactKind::KvDtype].map(Differing::Fact);
    assert_eq!(differs(&results, "bf16"), types);
}

#[test]
fn another_precision_is_not_comparable_and_not_corrupt() {
    let plan = plan(true);
    let mut results = results(&plan, true);
    for result in &mut results.cells {
        let arm = &plan.deployments[0].arms[plan.cells[result.cell].arm].name;
        let mismatches = if arm == "bf16" { 20 } else { 0 };
        result.answers = Some(AnswerCount { compared: 30, mismatches, ..AnswerCount::default() });
    }
    oracle::judge(&mut results);
    assert!(matches!(verdict(&results, "bf16"), Verdict::Failed(_)));
    let seen = Comparison::of(&results).unwrap();
    assert!(seen.deployments[0].outputs.iter().all(|note| note.arm != "bf16"));
}

#[test]
fn reports_show_what_arms_were_started_with_and_what_they_are() {
    let plan = plan(false);
    let results = results(&plan, false);
    let seen = Comparison::of(&results).unwrap();
    let files = report(&seen).unwrap();
    let file = |path: &str| {
        let file = files.iter().find(|file| file.path == path).unwrap();
        String::from_utf8(file.bytes.clone()).unwrap()
    };
    let told = explain(&results, &seen, &std::collections::BTreeMap::new(), Scope::default());
    let pages = [file("report/report.md"), file("report/report.html"), told.unwrap()];
    for page in &pages {
        let page = page.split_whitespace().collect::<Vec<_>>().join(" ").replace('\\', "");
        for words in [
            "--no-enable-prefix-caching",
            "--num-gpu-blocks-override 257",
            "LMCACHE_LOG_LEVEL",
            "All arms are alike in:",
            "max_num_seqs (8)",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
        // A fact of one arm alone is not common to all.
        assert!(!page.contains("LMCache version (0.5.6)"), "{page}");
        assert!(!page.contains("signals alone say"), "{page}");
    }
}

#[test]
fn what_is_not_as_planned_is_told_before_anything_else() {
    let plan = plan(true);
    let mut results = results(&plan, true);
    let unlike = results.cells.iter().map(|result| result.unlike.clone());
    let unlike = unlike.into_iter().find(|unlike| !unlike.is_empty()).unwrap();
    let control = results.cells.iter_mut().find(|result| plan.cells[result.cell].arm == 0);
    let control = control.unwrap();
    control.record.status = CellStatus::NotComparable(unlike.clone());
    assert_eq!(control.verdict(), Verdict::Failed(FailureReason::NotComparable(unlike)));
    assert!(!control.counts());
}

/// vLLM's own connector is not LMCache, and a control has none; a server without any shows no facts
/// to contradict.
#[test]
fn endpoints_are_what_they_show() {
    let text = fs::read_to_string(recorded("claims/experiment.yaml")).unwrap();
    let experiment = Experiment::parse(&text, "experiment.yaml", Path::new(""), &[]).unwrap();
    let plan = Plan::resolve(&experiment).unwrap();
    let arms = &plan.deployments[0].arms;
    let connector = FactValue::Words(vec!["OffloadingConnector".to_owned()]);
    for (arm, wanted) in [("no-offload", true), ("native-offload", false), ("lmcache-local", true)]
    {
        let cell = plan.cells.iter().find(|cell| arms[cell.arm].name == arm).unwrap();
        let seen = against_plan(&plan, cell, &evidence("claims", arm).facts);
        assert_eq!(seen.len(), usize::from(wanted), "{arm}: {seen:?}");
        for difference in seen {
            assert_eq!(difference.differs, Differing::Fact(FactKind::Connector), "{arm}");
            assert_eq!(difference.is.as_ref(), Some(&connector), "{arm}");
        }
    }
}

#[test]
fn an_arm_that_did_not_run_is_alike_in_nothing() {
    let plan = plan(false);
    let mut results = results(&plan, false);
    let sentence = |results: &Results<'_>| {
        let seen = Comparison::of(results).unwrap();
        software_sentences(&seen.deployments[0]).remove(0)
    };
    assert!(sentence(&results).starts_with("All arms are alike in: "));
    let arm = |result: &CellResult| plan.cells[result.cell].arm;
    results.cells.retain(|result| arm(result) != 1);
    assert!(sentence(&results).starts_with("All arms that ran are alike in: "));
    results.cells.retain(|result| arm(result) == 0);
    assert!(sentence(&results).starts_with("Of the arms, only no-offload ran, and shows: "));
}

#[test]
fn what_an_endpoint_does_not_show_of_its_tiers_is_unverified() {
    let unseen = |plan: &Plan, has_bytes: bool| {
        let mut results = results(plan, true);
        let evidence = results.cells.iter_mut().filter_map(|result| result.evidence.as_mut());
        for evidence in evidence.filter(|_| has_bytes) {
            evidence.facts.add(
                FactKind::HostBytes,
                "vllm-0",
                FactValue::Count(1),
                FactSource::Metrics,
            );
        }
        let seen = Comparison::of(&results).unwrap();
        let is_of_bytes = |sentence: &String| sentence.contains("the bytes of native-offload");
        software_sentences(&seen.deployments[0]).iter().any(is_of_bytes)
    };
    let local = plan(true);
    let endpoint = Plan { target: EndpointTarget::default().into(), ..local.clone() };
    assert!(!unseen(&local, false));
    assert!(unseen(&endpoint, false));
    assert!(!unseen(&endpoint, true));
}
