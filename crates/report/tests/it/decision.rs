//! What is decided, and why no more.

use weir_model::{CellFailure, Nanos, Refusal, Verdict};
use weir_record::CellStatus;
use weir_report::comparison::{Comparison, Decision, Standing};
use weir_report::results::Results;
use weir_report::{page, terminal};
use weir_spec::plan::{LocalTarget, Plan};

use crate::comparison::edit;
use crate::{fixture, live};

fn decided(results: &Results<'_>) -> Decision {
    Comparison::of(results).unwrap().deployments[0].decision.clone()
}

fn standing<'a>(decision: &'a Decision, arm: &str, level: &str) -> &'a Standing {
    let arm = decision.standings.iter().find(|of| of.arm == arm).unwrap();
    &arm.levels.iter().find(|of| of.level == level).unwrap().standing
}

fn with_objectives() -> Plan {
    let mut plan = fixture::plan();
    plan.slo.ttft = Some(Nanos::from_secs(2));
    plan
}

#[test]
fn levels_that_miss_the_objectives_are_no_ground() {
    let plan = with_objectives();
    let mut results = fixture::results(&plan);
    for arm in ["no-offload", "no-offload-aa", "native-offload"] {
        edit(&mut results, arm, Some(2), |result| {
            result.record.figures.goodput_share = Some(0.4);
        });
    }
    let seen = decided(&results);
    assert_eq!(*standing(&seen, "native-offload", "c300"), Standing::MissesObjectives);
    assert_eq!(*standing(&seen, "native-offload", "c50"), Standing::Gain);
    let only = &seen.recommended[0];
    assert_eq!((only.from.as_str(), only.to.as_str()), ("c50", "c50"));
    assert!(seen.sentence.starts_with("Use native-offload at 50 users: goodput +10.0 %"));
    assert!(seen.sentence.contains("native-offload at c300: the objectives are missed"));
    let words = terminal::summary(&Comparison::of(&results).unwrap());
    assert!(words.contains("good req/s") && words.contains("USD per 1M tok"), "{words}");
}

#[test]
fn an_arm_that_meets_what_the_control_misses_gains() {
    let plan = with_objectives();
    let mut results = fixture::results(&plan);
    for (arm, share) in [("no-offload", 0.0), ("native-offload", 0.99)] {
        edit(&mut results, arm, Some(2), |result| {
            result.record.figures.goodput_share = Some(share);
            if share == 0.0 {
                result.record.figures.goodput_requests_per_s = Some(0.0);
            }
        });
    }
    let seen = decided(&results);
    let of_level = standing(&seen, "native-offload", "c300");
    assert!(matches!(of_level, Standing::OnlyMeets { control_share: 0.0, .. }), "{of_level:?}");
    let words = "; at 300 users native-offload meets the objectives, no-offload does not";
    assert!(seen.sentence.contains(words), "{}", seen.sentence);
    // With the shares exchanged it does harm.
    for (arm, share) in [("no-offload", 0.99), ("native-offload", 0.5)] {
        edit(&mut results, arm, None, |result| {
            result.record.figures.goodput_share = Some(share);
            result.record.figures.goodput_requests_per_s = Some(share);
        });
    }
    let seen = decided(&results);
    assert_eq!(*standing(&seen, "native-offload", "c50"), Standing::LosesObjectives);
    assert!(seen.sentence.contains("native-offload misses the objectives at"), "{}", seen.sentence);
}

#[test]
fn an_arm_that_alone_meets_the_objectives_says_so_first() {
    let plan = with_objectives();
    let mut results = fixture::results(&plan);
    edit(&mut results, "native-offload", None, |result| {
        result.evidence.as_mut().unwrap().verdict = Verdict::Effective;
        let cell = &plan.cells[result.cell];
        let control = fixture::figures("no-offload", cell.level, cell.repeat);
        let cost = control.cost_per_million_output_tokens.unwrap();
        result.record.figures = control;
        result.record.figures.cost_per_million_output_tokens = Some(0.9 * cost);
    });
    for arm in ["no-offload", "no-offload-aa"] {
        edit(&mut results, arm, Some(1), |result| result.record.figures.goodput_share = Some(0.9));
    }
    let seen = decided(&results);
    assert_eq!(*standing(&seen, "native-offload", "c1"), Standing::Cheaper);
    let of_level = standing(&seen, "native-offload", "c50");
    let Standing::OnlyMeets { share, control_share } = of_level else { panic!("{of_level:?}") };
    assert!((share - 0.98).abs() < 1e-9 && (control_share - 0.9).abs() < 1e-9);
    assert!(seen.sentence.contains("at 50 users only native-offload meets"), "{}", seen.sentence);
    // The sentence begins with this reason from that level on.
    edit(&mut results, "native-offload", Some(0), |result| {
        result.record.figures.cost_per_million_output_tokens = Some(1e6);
    });
    let text = decided(&results).sentence;
    let start = "Use native-offload from 50 users: only native-offload meets the objectives (in \
                 98.0 % of the requests, no-offload in 90.0 %), goodput 0.0 %";
    assert!(text.starts_with(start) && !text.contains("equal goodput"), "{text}");
    // Where another arm meets them too, it is not the only one.
    edit(&mut results, "no-offload-aa", Some(1), |result| {
        result.record.figures.goodput_share = Some(0.96);
    });
    let text = decided(&results).sentence;
    assert!(text.contains("native-offload meets the objectives, no-offload does not"), "{text}");
}

/// Less load where the lightest level is too heavy; an A/A arm where there is none.
#[test]
fn remedies_stand_where_they_act() {
    let plan = with_objectives();
    let with_missed = |levels: &[usize]| {
        let mut results = fixture::results(&plan);
        for arm in ["no-offload", "no-offload-aa", "native-offload"] {
            for level in levels {
                edit(&mut results, arm, Some(*level), |result| {
                    result.record.figures.goodput_share = Some(0.4);
                });
            }
        }
        decided(&results)
    };
    let missed = with_missed(&[0, 1, 2]);
    assert!(missed.sentence.contains("add a level with less load"), "{}", missed.sentence);
    assert!(with_missed(&[1, 2]).remedies.iter().all(|remedy| !remedy.contains("less load")));

    let mut deployment = fixture::deployment();
    deployment.levels.truncate(1);
    for has_again in [true, false] {
        let mut deployment = deployment.clone();
        if !has_again {
            deployment.arms[1].role = weir_spec::plan::ArmRole::Treatment;
        }
        let target = LocalTarget::default().into();
        let plan = Plan { target, ..fixture::plan_of(deployment, 2) };
        let mut results = fixture::results(&plan);
        edit(&mut results, "native-offload", None, |result| {
            result.evidence.as_mut().unwrap().verdict = Verdict::Effective;
            let is_first = plan.cells[result.cell].repeat == 0;
            result.record.figures.output_tokens_per_s = Some(if is_first { 110.0 } else { 190.0 });
            result.record.figures.cost_per_million_output_tokens = Some(1e6);
        });
        let text = decided(&results).sentence;
        assert!(text.starts_with("No decision yet") && text.contains("raise `repeats`"), "{text}");
        assert_eq!(text.contains("add an A/A arm"), !has_again, "{text}");
    }
}

#[test]
fn objectives_missed_without_a_control_are_no_ground_either() {
    let plan = with_objectives();
    let mut results = fixture::results(&plan);
    edit(&mut results, "native-offload", Some(2), |result| {
        result.record.figures.goodput_share = Some(0.4);
    });
    edit(&mut results, "no-offload", Some(2), |result| {
        result.record.status = CellStatus::Failed(CellFailure::Error("the server died".to_owned()));
    });
    let seen = decided(&results);
    assert_eq!(*standing(&seen, "native-offload", "c300"), Standing::NoControl);
}

#[test]
fn of_equal_goodput_the_cheaper_arm_is_used() {
    let plan = with_objectives();
    let mut results = fixture::results(&plan);
    for (arm, cost) in [("native-offload", 0.9), ("lmcache-redis", 0.8)] {
        edit(&mut results, arm, None, |result| {
            result.evidence.as_mut().unwrap().verdict = Verdict::Effective;
            let cell = &plan.cells[result.cell];
            let control = fixture::figures("no-offload", cell.level, cell.repeat);
            result.record.figures = control;
            let figures = &mut result.record.figures;
            let before = figures.cost_per_million_output_tokens.unwrap();
            figures.cost_per_million_output_tokens = Some(before * cost);
        });
    }
    let seen = decided(&results);
    assert_eq!(*standing(&seen, "native-offload", "c50"), Standing::Cheaper);
    let start = "Use lmcache-redis from 1 user: equal goodput, cost -20.0 %";
    assert!(seen.sentence.starts_with(start), "{}", seen.sentence);
}

#[test]
fn harm_is_named_as_gain_is() {
    let plan = fixture::plan();
    let mut results = fixture::results(&plan);
    edit(&mut results, "native-offload", None, |result| {
        let cell = &plan.cells[result.cell];
        let base = fixture::throughput("no-offload", cell.level, cell.repeat);
        result.record.figures.output_tokens_per_s = Some(base * 0.88);
    });
    let text = decided(&results).sentence;
    assert!(text.starts_with("Keep no-offload: no arm gains at any level."), "{text}");
    assert!(text.contains("native-offload lowers output throughput by 12.0 %"), "{text}");
}

#[test]
fn reasons_are_those_of_the_cells_and_told_once() {
    let plan = Plan { target: LocalTarget::default().into(), ..fixture::plan() };
    let mut results = fixture::results(&plan);
    for result in &mut results.cells {
        let mut certificate = live::certificate();
        certificate.refused = Some(Refusal::TooFewRequests { requests: 4, users: 1.0 });
        result.record.figures.certificate = Some(certificate);
    }
    let seen = decided(&results);
    let text = &seen.sentence;
    assert!(!text.contains("mechanism was effective"), "{text}");
    assert_eq!(text.matches("the load generator was the limit").count(), 2, "per family: {text}");
    assert!(text.contains("native-offload, lmcache-redis at all levels"), "{text}");
    assert!(text.contains("What helps: send more requests, or measure for longer."), "{text}");

    for result in &mut results.cells {
        result.record.status = CellStatus::Failed(CellFailure::Error("the server died".to_owned()));
    }
    let text = decided(&results).sentence;
    assert!(text.contains("failed (the server died)"), "{text}");
    assert!(!text.contains("mechanism was effective"), "{text}");
}

#[test]
fn an_interrupted_run_says_so_everywhere() {
    let plan = fixture::plan();
    let mut results = fixture::results(&plan);
    results.cells.retain(|result| plan.cells[result.cell].level == 0);
    let seen = Comparison::of(&results).unwrap();
    let decision = &seen.deployments[0].decision;
    assert_eq!(*standing(decision, "native-offload", "c50"), Standing::NotRun);
    let html = page::html(&seen).unwrap();
    for text in [&decision.sentence, &terminal::summary(&seen), &page::markdown(&seen), &html] {
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("interrupted: 30 of 45 cells have not run"), "{words}");
    }
    assert!(!decision.sentence.contains("mechanism was effective"), "{}", decision.sentence);
}

#[test]
fn a_gain_that_two_repeats_do_not_tell_is_no_decision() {
    let mut deployment = fixture::deployment();
    deployment.levels.truncate(1);
    let plan = fixture::plan_of(deployment, 2);
    let mut results = fixture::results(&plan);
    edit(&mut results, "no-offload", None, |result| {
        result.record.figures.output_tokens_per_s = Some(100.0);
    });
    edit(&mut results, "native-offload", None, |result| {
        result.evidence.as_mut().unwrap().verdict = Verdict::Effective;
        let is_first = plan.cells[result.cell].repeat == 0;
        result.record.figures.output_tokens_per_s = Some(if is_first { 110.0 } else { 190.0 });
        // Not cheaper.
        result.record.figures.cost_per_million_output_tokens = Some(1e6);
    });
    let seen = decided(&results);
    let level = plan.deployments[0].levels[0].name.as_str();
    assert_eq!(*standing(&seen, "native-offload", level), Standing::Unproven);
    assert!(seen.recommended.is_empty());
    assert!(seen.sentence.starts_with("No decision yet"), "{}", seen.sentence);
    assert!(seen.sentence.contains("raise `repeats`"), "{}", seen.sentence);
}

#[test]
fn one_pair_of_equal_arms_is_no_noise_floor() {
    let mut deployment = fixture::deployment();
    deployment.levels.truncate(2);
    let target = || LocalTarget::default().into();
    // Two levels: two pairs, and the larger difference is the floor of both.
    let plan = Plan { target: target(), ..fixture::plan_of(deployment.clone(), 1) };
    let mut results = fixture::results(&plan);
    edit(&mut results, "no-offload-aa", Some(0), |result| {
        let figures = &mut result.record.figures;
        figures.output_tokens_per_s = figures.output_tokens_per_s.map(|rate| rate * 1.12);
        let cost = figures.cost_per_million_output_tokens;
        figures.cost_per_million_output_tokens = cost.map(|cost| cost / 1.12);
    });
    let seen = Comparison::of(&results).unwrap();
    let floor = &seen.deployments[0].noise_floor;
    assert!((floor.percent["output_tokens_per_s"]["c50"] - 12.0).abs() < 1e-9);
    assert_eq!(floor.pairs, 2);
    assert!(seen.deployments[0].decision.recommended.is_empty(), "a gain of 10 % is below it");

    deployment.levels.remove(0);
    let plan = Plan { target: target(), ..fixture::plan_of(deployment, 1) };
    let mut results = fixture::results(&plan);
    // The fixture's gains are by place; this is the one of c50.
    edit(&mut results, "native-offload", None, |result| {
        result.evidence.as_mut().unwrap().verdict = Verdict::Effective;
        result.record.figures.output_tokens_per_s = Some(150.0);
    });
    let seen = Comparison::of(&results).unwrap();
    let of = &seen.deployments[0];
    assert!(of.noise_floor.note.starts_with("unknown: one A/A pair"), "{}", of.noise_floor.note);
    assert_eq!(*standing(&of.decision, "native-offload", "c50"), Standing::Unproven);
    assert!(of.decision.recommended.is_empty());
    assert!(of.decision.sentence.starts_with("No decision yet"), "{}", of.decision.sentence);
    assert!(!of.change("native-offload", "output_tokens_per_s", "c50").unwrap().distinguishable);
}
