//! A simulated run beside a live one.

use weir_model::{CellFailure, Mechanism, SignalKind, SignalSource, TierKind};
use weir_record::CellStatus;
use weir_report::artifacts::{analysis, report};
use weir_report::comparison::{Comparison, PredictionComparison, compare_prediction};
use weir_report::results::Results;
use weir_report::tables::{prediction_sentence, prediction_short_table, prediction_table, text};
use weir_report::terminal;
use weir_spec::plan::{Plan, Target};

use crate::{explanation, fixture};

const LIVE: &str = "vLLM's /metrics";

/// Prompts, GPU hits and tier hits of one repeat; measured ones are `more` larger.
fn results<'a>(plan: &'a Plan, source: &str, more: impl Fn(usize) -> f64) -> Results<'a> {
    let mut results = fixture::results(plan);
    for result in &mut results.cells {
        let cell = &plan.cells[result.cell];
        let has_tier = plan.deployments[0].arms[cell.arm].offload.is_some();
        let signals = &mut result.evidence.as_mut().unwrap().signals;
        *signals = weir_model::Signals::default();
        signals.add(SignalKind::PromptTokens, 100_000.0, source);
        signals.add(SignalKind::GpuHitTokens, 30_000.0 + more(cell.level), source);
        if has_tier {
            signals.add(SignalKind::ExternalHitTokens, 40_000.0 - more(cell.level), source);
        }
        if source == LIVE {
            result.record.figures.output_tokens_per_s =
                result.record.figures.output_tokens_per_s.map(|rate| rate * 0.9);
        }
    }
    results
}

fn plans() -> (Plan, Plan) {
    let live = explanation::plan();
    (Plan { target: Target::Simulated, ..live.clone() }, live)
}

fn compared(more: impl Fn(usize) -> f64) -> PredictionComparison {
    let (simulated, live) = plans();
    let mut measured = results(&live, LIVE, more);
    // One arm died in the live run.
    for result in &mut measured.cells {
        let cell = &live.cells[result.cell];
        if (cell.arm, cell.level) == (2, 2) {
            result.record.status = CellStatus::Failed(CellFailure::Error("vllm-0 died".to_owned()));
        }
    }
    compare_prediction(&results(&simulated, "simulator", |_| 0.0), &measured, 5.0).unwrap()
}

#[test]
fn sequential_hits_must_be_exact_and_others_within_the_tolerance() {
    // c1: one token off; c50: 2 % off; c300: 20 % off.
    let seen = compared(|level| [1.0, 2_000.0, 20_000.0][level]);
    let holds = |arm: &str, level: &str| -> Vec<Option<bool>> {
        let of = |group: &&weir_report::comparison::PredictedGroup| {
            group.arm == arm && group.level == level
        };
        let group = seen.groups.iter().find(of).unwrap();
        group.tokens.iter().map(|tokens| tokens.holds).collect()
    };
    assert_eq!(holds("no-offload", "c1"), [None, Some(false)]);
    assert_eq!(holds("no-offload", "c50"), [None, Some(true)]);
    assert_eq!(holds("no-offload", "c300"), [None, Some(false)]);
    assert_eq!(holds("native-offload", "c50"), [None, Some(true), Some(true)]);
    assert!(
        !seen.groups.iter().any(|group| group.arm == "native-offload" && group.level == "c300")
    );
    assert!(
        seen.left_out.iter().any(|left| left.contains("native-offload/c300/0: measured: failed"))
    );
    // Void in both runs: named, never compared.
    assert!(seen.left_out.iter().any(|left| left.contains("lmcache-redis/c1/0: measured: void")));
    insta::assert_snapshot!("prediction_table", text(&prediction_table(&seen)));
    insta::assert_snapshot!("prediction_short_table", text(&prediction_short_table(&seen)));
    insta::assert_snapshot!("prediction_sentence", prediction_sentence(&seen));
}

#[test]
fn equal_runs_are_exact() {
    let seen = compared(|_| 0.0);
    let judged = || seen.groups.iter().flat_map(|group| &group.tokens);
    assert!(judged().all(|tokens| tokens.holds != Some(false)));
    assert!(seen.groups.iter().all(|group| group.exact == (group.level == "c1")));
    assert_eq!(seen.differences, Vec::<String>::new());
    let throughput = &seen.groups[0].metrics[0];
    assert!((throughput.error_percent - 100.0 / 9.0).abs() < 1e-9, "{throughput:?}");
}

/// Other amounts of work can have equal shares, but never equal tokens: hits need not be exact.
#[test]
fn runs_that_asked_other_amounts_are_compared_by_share() {
    let (simulated, live) = plans();
    let mut measured = results(&live, LIVE, |_| 0.0);
    for result in &mut measured.cells {
        for signals in result.evidence.as_mut().unwrap().signals.0.values_mut() {
            for signal in signals {
                signal.value *= 2.0;
            }
        }
    }
    let predicted = results(&simulated, "simulator", |_| 0.0);
    let seen = compare_prediction(&predicted, &measured, 0.0).unwrap();
    assert!(seen.groups.iter().all(|group| !group.exact));
    let group = seen.groups.iter().find(|group| group.arm == "no-offload").unwrap();
    assert_eq!(group.tokens[0].difference_percent, Some(100.0));
    assert_eq!(
        (group.tokens[1].difference_percent, group.tokens[1].holds),
        (Some(0.0), Some(true))
    );
}

#[test]
fn what_differs_between_the_plans_is_said() {
    let (mut simulated, live) = plans();
    simulated.deployments[0].engine.blocks /= 2;
    simulated.deployments[0].levels[1].max_requests = Some(9);
    for cell in &mut simulated.cells {
        cell.seed += u64::from(cell.repeat == 1);
    }
    let predicted = results(&simulated, "simulator", |_| 0.0);
    let seen = compare_prediction(&predicted, &results(&live, LIVE, |_| 0.0), 5.0).unwrap();
    let said = seen.differences.join("; ");
    assert!(said.contains("blocks 15000 and not 30000"), "{said}");
    assert!(said.contains("workload or load of c50 differs"), "{said}");
    assert!(seen.left_out.iter().any(|left| left.contains("/1: the seeds of the workload differ")));
    assert!(seen.groups.iter().all(|group| group.repeats == 1));
}

#[test]
fn every_output_has_the_section() {
    let (_, live) = plans();
    let measured = results(&live, LIVE, |_| 0.0);
    let mut of = Comparison::of(&measured).unwrap();
    of.prediction = Some(compared(|_| 0.0));
    let mut files = analysis(&measured, &of).unwrap();
    files.extend(report(&of).unwrap());
    let file = |path: &str| {
        let file = files.iter().find(|file| file.path == path).unwrap();
        String::from_utf8(file.bytes.clone()).unwrap()
    };
    let csv = file("analysis/prediction.csv");
    insta::assert_snapshot!("prediction_csv", csv.lines().take(8).collect::<Vec<_>>().join("\n"));
    for name in csv.lines().next().unwrap().split(',') {
        let name = name.replace('_', "\\_");
        assert!(file("analysis/columns.md").contains(&format!("| {name} |")), "{name}");
    }
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    assert!(reader.records().map(Result::unwrap).count() > 8);
    for path in ["report/report.md", "report/report.html"] {
        assert!(file(path).contains("Prediction against measurement"), "{path}");
    }
    let summary: serde_json::Value = serde_json::from_str(&file("analysis/summary.json")).unwrap();
    assert_eq!(summary["prediction"]["tolerance_percent"], 5.0);
    let terminal = terminal::summary(&of);
    assert!(terminal.contains("\nPrediction\n"), "{terminal}");
    assert!(terminal.lines().all(|line| line.chars().count() <= 112), "{terminal}");
}

/// LMCache's server evicts by the clock: hits are judged by their sum, within the tolerance.
#[test]
fn levels_of_an_lmcache_server_that_evicts_are_not_judged() {
    let (mut simulated, mut live) = plans();
    for plan in [&mut simulated, &mut live] {
        // Native offloading counts in both runs; here it becomes LMCache with its store.
        let arms = &mut plan.deployments[0].arms;
        let mut offload = arms[3].offload.clone().unwrap();
        offload.mechanism = Mechanism::LmcacheServer;
        arms[2].offload = Some(offload);
    }
    let with_levels = |plan, source, evicted| {
        let mut results = results(plan, source, |_| 0.0);
        for result in &mut results.cells {
            let signals = &mut result.evidence.as_mut().unwrap().signals;
            let lookups = || SignalSource::of(source).at_lookup();
            signals.add(SignalKind::HostHitTokens, 60_000.0 - evicted, lookups());
            signals.add(SignalKind::RemoteHitTokens, evicted, "store's INFO");
            signals.add(SignalKind::RemoteHitTokens, evicted, lookups());
            signals.add_of(TierKind::Host, SignalKind::EvictedBytes, evicted, source);
        }
        results
    };
    let compared = |evicted| {
        let predicted = with_levels(&simulated, "simulator", 0.0);
        let measured = with_levels(&live, LIVE, evicted);
        let seen = compare_prediction(&predicted, &measured, 5.0).unwrap();
        let of = |group: &&weir_report::comparison::PredictedGroup| {
            group.arm == "native-offload" && group.level == "c1"
        };
        let group = seen.groups.iter().find(of).unwrap().clone();
        let tokens = group.tokens.iter().map(|tokens| (tokens.place, tokens.holds));
        (group.exact, tokens.collect::<Vec<_>>())
    };
    let levels = ["prompt", "gpu", "host lookups", "remote lookups", "all tiers"];
    let told = |holds: [Option<bool>; 5]| levels.into_iter().zip(holds).collect::<Vec<_>>();
    let exact = Some(true);
    assert_eq!(compared(0.0), (true, told([None, exact, exact, exact, exact])));
    assert_eq!(compared(20_000.0), (false, told([None, exact, None, None, exact])));
}
