//! Answers against the control's, from counts to every output.

use weir_model::{CellFailure, FailureReason, Verdict};
use weir_report::artifacts::{analysis, report};
use weir_report::comparison::Comparison;
use weir_report::oracle::{OutputOutcome, OutputRemark, judge};
use weir_report::results::AnswerCount;
use weir_report::results::Results;
use weir_report::tables::{outputs_table, text};
use weir_report::terminal;
use weir_spec::plan::{LocalTarget, Plan};

use crate::fixture;

fn live_plan() -> Plan {
    Plan { target: LocalTarget::default().into(), ..fixture::plan() }
}

/// 20 answers per repeat; `mismatches` by arm and level.
fn answered(plan: &Plan, mismatches: impl Fn(&str, usize) -> u64) -> Results<'_> {
    let mut results = fixture::results(plan);
    for result in &mut results.cells {
        let cell = &plan.cells[result.cell];
        let arm = &plan.deployments[0].arms[cell.arm].name;
        result.answers = (arm != "no-offload").then(|| AnswerCount {
            compared: 20,
            mismatches: mismatches(arm, cell.level),
            ..AnswerCount::default()
        });
    }
    judge(&mut results);
    results
}

fn corrupting(arm: &str, level: usize) -> u64 {
    match (arm, level) {
        ("native-offload", 2) => 14,
        ("no-offload-aa" | "native-offload", 1) => 1,
        _ => 0,
    }
}

#[test]
fn a_corrupt_arm_counts_nowhere_and_says_why() {
    let plan = live_plan();
    let results = answered(&plan, corrupting);
    let seen = Comparison::of(&results).unwrap();
    let of = &seen.deployments[0];
    let corrupt = of.group("native-offload", "c300").unwrap();
    assert!(corrupt.verdict.all(|verdict| *verdict == Verdict::Corrupt));
    assert_eq!(corrupt.counted, 0);
    assert!(corrupt.metrics.is_empty());
    let found = results.cells.iter().find_map(|result| result.corrupt).unwrap();
    assert_eq!((found.count.mismatches, found.count.compared), (42, 60));
    assert!(corrupt.explanation.contains("42 of 60 (70.0 %)"), "{}", corrupt.explanation);
    let healthy = of.group("native-offload", "c50").unwrap();
    assert!(healthy.verdict.all(|verdict| *verdict == Verdict::Effective));
    assert!(of.decision.recommended.iter().all(|arm| arm.to != "c300"), "{:?}", of.decision);
    assert!(seen.warnings.iter().any(|warning| warning.contains("native-offload at c300")));
    insta::assert_snapshot!("outputs_table", text(&outputs_table(of)));

    let mut files = analysis(&results, &seen).unwrap();
    files.extend(report(&seen).unwrap());
    let file = |path: &str| {
        let file = files.iter().find(|file| file.path == path).unwrap();
        String::from_utf8(file.bytes.clone()).unwrap()
    };
    insta::assert_snapshot!("outputs_csv", file("analysis/outputs.csv"));
    for name in file("analysis/outputs.csv").lines().next().unwrap().split(',') {
        let name = name.replace('_', "\\_");
        assert!(file("analysis/columns.md").contains(&format!("| {name} |")), "{name}");
    }
    let cells = file("analysis/Qwen3-8B_native-offload_metrics.csv");
    assert_eq!(cells.lines().filter(|line| line.contains(",corrupt,no,")).count(), 3, "{cells}");
    let summary: serde_json::Value = serde_json::from_str(&file("analysis/summary.json")).unwrap();
    let note = &summary["deployments"][0]["outputs"][5];
    assert_eq!((&note["outcome"], &note["mismatches"]), (&"corrupt".into(), &42.into()), "{note}");
    let terminal = terminal::summary(&seen);
    assert!(terminal.lines().all(|line| line.chars().count() <= 112), "{terminal}");
    for page in [terminal, file("report/report.md"), file("report/report.html")] {
        assert!(page.contains("Outputs against the control") || page.contains("### Outputs"));
        assert!(page.contains("42 (70.0 %)"), "{page}");
    }
}

#[test]
fn equal_answers_change_nothing() {
    let plan = live_plan();
    let results = answered(&plan, |_, _| 0);
    let seen = Comparison::of(&results).unwrap();
    let without = Comparison::of(&fixture::results(&plan)).unwrap();
    assert_eq!(seen.cells, without.cells);
    assert!(without.deployments[0].outputs.is_empty());
    assert!(results.cells.iter().all(|result| result.corrupt.is_none()));
}

#[test]
fn failed_and_incomplete_repeats_are_not_compared() {
    let plan = live_plan();
    let mut results = answered(&plan, |_, _| 0);
    for result in &mut results.cells {
        let cell = &plan.cells[result.cell];
        if cell.repeat > 0 {
            result.record.status =
                weir_record::CellStatus::Failed(CellFailure::Error("died".to_owned()));
        } else if cell.arm == 2 {
            // Later turns quote other answers.
            result.answers =
                Some(AnswerCount { compared: 4, other_prompts: 16, ..AnswerCount::default() });
        }
    }
    judge(&mut results);
    let seen = Comparison::of(&results).unwrap();
    let outputs = &seen.deployments[0].outputs;
    assert!(outputs.iter().all(|note| note.compared <= 20));
    let undecided = outputs.iter().find(|note| note.arm == "native-offload").unwrap();
    assert_eq!(undecided.outcome, OutputOutcome::Undecided);
    assert_eq!(undecided.note, Some(OutputRemark::TooFew { other_prompts: 16 }));
}

#[test]
fn a_failed_cell_of_a_corrupt_arm_keeps_its_cause() {
    let plan = live_plan();
    let mut results = answered(&plan, corrupting);
    let failed = |result: &&mut weir_report::results::CellResult| {
        let cell = &plan.cells[result.cell];
        (cell.arm, cell.level, cell.repeat) == (2, 2, 0)
    };
    let cell = results.cells.iter_mut().find(failed).unwrap();
    cell.record.status = weir_record::CellStatus::Failed(CellFailure::Error("died".to_owned()));
    judge(&mut results);
    let verdicts: Vec<Verdict> = results
        .cells
        .iter()
        .filter(|result| (plan.cells[result.cell].arm, plan.cells[result.cell].level) == (2, 2))
        .map(weir_report::results::CellResult::verdict)
        .collect();
    let died = FailureReason::Cell(CellFailure::Error("died".to_owned()));
    assert_eq!(verdicts, [Verdict::Failed(died), Verdict::Corrupt, Verdict::Corrupt]);
}

#[test]
fn a_late_generator_does_not_hide_corruption() {
    let plan = live_plan();
    let mut results = answered(&plan, corrupting);
    for result in &mut results.cells {
        let mut certificate = crate::live::certificate();
        certificate.refused =
            Some(weir_model::Refusal::Busy { share: 0.99, why: weir_model::Lateness::Busy });
        result.record.figures.certificate = Some(certificate);
    }
    judge(&mut results);
    for result in &results.cells {
        let cell = &plan.cells[result.cell];
        let corrupt = (cell.arm, cell.level) == (2, 2);
        assert_eq!(result.verdict() == Verdict::Corrupt, corrupt, "{cell:?}");
        assert!(!result.counts());
    }
}

#[test]
fn what_cannot_be_judged_says_so() {
    let mut sampled = live_plan();
    sampled.client.body.insert("temperature".to_owned(), 0.7.into());
    let results = answered(&sampled, |_, _| 20);
    let seen = Comparison::of(&results).unwrap();
    let treated = seen.deployments[0].outputs.iter().filter(|note| note.arm != "no-offload-aa");
    assert!(treated.clone().count() > 0);
    for note in treated {
        assert_eq!(note.outcome, OutputOutcome::NotJudged);
        assert_eq!(note.note, Some(OutputRemark::Sampled));
    }

    // The emulated engine answers without reading its blocks: equality proves nothing.
    let plan =
        Plan { target: weir_spec::plan::EmulatedTarget::default().into(), ..fixture::plan() };
    let seen = Comparison::of(&answered(&plan, |_, _| 0)).unwrap();
    let note = &seen.deployments[0].outputs[3];
    assert_eq!((note.arm.as_str(), note.outcome), ("native-offload", OutputOutcome::NotJudged));
    // Different answers are a fault there, too.
    let wrong = |arm: &str, _| if arm == "native-offload" { 20 } else { 0 };
    let seen = Comparison::of(&answered(&plan, wrong)).unwrap();
    assert_eq!(seen.deployments[0].outputs[3].outcome, OutputOutcome::Corrupt);
}

#[test]
fn without_digests_there_is_no_judgement() {
    let plan = live_plan();
    let mut results = answered(&plan, |_, _| 0);
    for answers in results.cells.iter_mut().filter_map(|result| result.answers.as_mut()) {
        *answers = AnswerCount { without_digest: 20, ..AnswerCount::default() };
    }
    judge(&mut results);
    let seen = Comparison::of(&results).unwrap();
    let note = &seen.deployments[0].outputs[3];
    assert_eq!(note.outcome, OutputOutcome::NotJudged);
    assert_eq!(note.note, Some(OutputRemark::NoDigests));
}
