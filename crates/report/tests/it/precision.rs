//! Errors of the load generator against compared figures.

use weir_model::quantity::Tolerance;
use weir_model::{AnswerFacts, Lateness, Nanos, Refusal};
use weir_report::comparison::Comparison;
use weir_report::precision::{Bound, judge};
use weir_report::results::{CellResult, Results};
use weir_report::terminal;
use weir_spec::plan::{LocalTarget, Plan};

use crate::{fixture, live};

const MS: u64 = 1_000_000;

fn live_plan() -> Plan {
    Plan { target: LocalTarget::default().into(), ..fixture::plan() }
}

/// Live cells with TTFT errors of `ttft_ms` and gap errors of `gap_ms` at most.
fn inexact(plan: &Plan, ttft_ms: f64, gap_ms: f64) -> Results<'_> {
    let mut results = fixture::results(plan);
    for result in &mut results.cells {
        let mut certificate = live::certificate();
        for (spread, ms) in
            [(&mut certificate.first_token_bound, ttft_ms), (&mut certificate.gap_bound, gap_ms)]
        {
            spread.mean = Nanos((ms * MS as f64) as u64);
            (spread.p50, spread.p99, spread.max) = (spread.mean, spread.mean, spread.mean);
        }
        result.record.figures.certificate = Some(certificate);
    }
    results
}

fn ttft(results: &mut Results<'_>, arm: usize, mean: f64) {
    let plan = results.plan;
    for result in &mut results.cells {
        if plan.cells[result.cell].arm == arm {
            result.record.figures.ttft_ms.mean = mean;
        }
    }
}

fn judged(mut results: Results<'_>) -> Comparison {
    judge(&mut results);
    Comparison::of(&results).unwrap()
}

/// An error of 5 ms is small for an arm at 60 ms whose control is at 600, and not where both are at
/// 60.
#[test]
fn an_error_is_held_against_what_is_compared() {
    let plan = live_plan();
    for (control, is_exact) in [(600.0, true), (60.0, false)] {
        let mut results = inexact(&plan, 5.0, 0.05);
        (0..5).for_each(|arm| ttft(&mut results, arm, control));
        ttft(&mut results, 2, 60.0);
        let seen = judged(results);
        let of = &seen.deployments[0];
        let group = of.group("native-offload", "c50").unwrap();
        assert_eq!(group.metrics.contains_key("ttft_mean_ms"), is_exact, "control {control}");
        assert_eq!(group.counted, 3, "the cell counts in what does not depend on the client");
        assert!(group.metrics.contains_key("output_tokens_per_s"));
        let change = of.change("native-offload", "ttft_mean_ms", "c50");
        let change = change.and_then(|delta| delta.change.as_ref());
        assert_eq!(change.is_some(), is_exact, "control {control}: {change:?}");
        if !is_exact {
            assert_eq!(group.bounds["ttft_mean_ms"], Bound::AtMost { value: 60.0 });
        }
    }
}

/// Gaps of a buffered answer are not those of its engine.
#[test]
fn answers_in_one_piece_have_no_time_between_tokens() {
    let plan = live_plan();
    let change = |in_one_piece, key| {
        let mut results = inexact(&plan, 0.1, 0.05);
        let arm = |result: &CellResult| plan.cells[result.cell].arm;
        for result in results.cells.iter_mut().filter(|result| arm(result) == 2) {
            let answers = AnswerFacts { by_usage: 20, in_one_piece, ..AnswerFacts::default() };
            result.record.figures.answers = Some(answers);
        }
        let seen = judged(results);
        let change = seen.deployments[0].change("native-offload", key, "c50");
        change.and_then(|delta| delta.change.clone())
    };
    for key in ["tpot_mean_ms", "itl_mean_ms"] {
        assert!(change(10, key).is_some(), "{key}");
        assert!(change(11, key).is_none(), "{key}");
    }
    assert!(change(20, "e2e_mean_ms").is_some());
}

#[test]
fn the_bound_on_gaps_is_held_against_the_inter_token_time() {
    let plan = live_plan();
    let mut results = inexact(&plan, 0.1, 40.2);
    for result in &mut results.cells {
        result.record.figures.itl_ms.mean = 27.9;
    }
    let seen = judged(results);
    let group = seen.deployments[0].group("no-offload", "c50").unwrap();
    assert!(!group.metrics.contains_key("itl_mean_ms"));
    let Bound::Within { value, margin } = group.bounds["itl_mean_ms"] else { panic!("{group:?}") };
    assert!((value - 27.9).abs() < 1e-9 && (margin - 40.2).abs() < 1e-9);
    assert!(group.metrics.contains_key("ttft_mean_ms"));
    let words = terminal::summary(&seen);
    assert!(words.contains("27.9 ms ± 40.2 ms"), "{words}");
    assert!(words.contains("shown as bounds and not compared: "), "{words}");
}

#[test]
fn the_user_states_another_tolerance() {
    let mut plan = live_plan();
    let is_exact = |plan: &Plan| {
        let mut results = inexact(plan, 5.0, 0.05);
        (0..5).for_each(|arm| ttft(&mut results, arm, 60.0));
        let seen = judged(results);
        let group = seen.deployments[0].group("no-offload", "c50").unwrap();
        (group.metrics.contains_key("ttft_mean_ms"), terminal::summary(&seen))
    };
    assert!(!is_exact(&plan).0);
    plan.client.max_error = Some(Tolerance::Time(Nanos::from_millis(5)));
    let (exact, words) = is_exact(&plan);
    assert!(exact && words.contains("error of the client that is accepted: 5ms"), "{words}");
    plan.client.max_error = Some(Tolerance::Percent(9.0));
    assert!(is_exact(&plan).0);
    plan.client.max_error = Some(Tolerance::Percent(8.0));
    assert!(!is_exact(&plan).0);
}

#[test]
fn refused_levels_show_bounds() {
    let plan = live_plan();
    let mut results = inexact(&plan, 0.1, 0.05);
    for result in &mut results.cells {
        let cell = &plan.cells[result.cell];
        if (cell.arm, cell.level) == (0, 1) {
            let certificate = result.record.figures.certificate.as_mut().unwrap();
            certificate.refused = Some(Refusal::Busy { share: 0.97, why: Lateness::Busy });
            result.record.figures.ttft_ms.p50 = 63.1;
            result.record.figures.output_tokens_per_s = Some(950.0);
        }
    }
    let seen = judged(results);
    let of = &seen.deployments[0];
    let group = of.group("no-offload", "c50").unwrap();
    assert_eq!((group.counted, group.metrics.len()), (0, 0));
    assert_eq!(group.bounds["ttft_p50_ms"], Bound::AtMost { value: 63.1 });
    assert_eq!(group.bounds["output_tokens_per_s"], Bound::AtLeast { value: 950.0 });
    assert!(of.change("native-offload", "output_tokens_per_s", "c50").unwrap().change.is_none());
    let peak = of.peaks.iter().find(|row| row.arm == "no-offload").unwrap();
    assert_eq!(peak.level.as_deref(), Some("c300"));
    let words = terminal::summary(&seen);
    assert!(words.contains("<= 63.1") && words.contains(">= 950"), "{words}");
    assert!(words.contains("refused: no-offload at c50"), "{words}");
    assert!(words.contains("use more workers"), "{words}");
}
