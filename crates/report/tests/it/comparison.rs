//! What is compared with what, what counts, and what is decided.

use weir_model::{
    CellFailure, FailureReason, OffloadReason, OverheadReason, Remedy, TokenShare, Verdict,
};
use weir_record::CellStatus;
use weir_report::comparison::Comparison;
use weir_report::results::{Results, ResultsError};
use weir_spec::plan::{ArmRole, LevelLoad};

use crate::fixture::{self, ABSURD};

fn comparison(results: &Results<'_>) -> Comparison {
    Comparison::of(results).unwrap()
}

fn sentence(results: &Results<'_>) -> String {
    comparison(results).deployments[0].decision.sentence.clone()
}

/// `level`: None for all levels.
pub(crate) fn edit(
    results: &mut Results<'_>,
    arm: &str,
    level: Option<usize>,
    change: impl Fn(&mut weir_report::results::CellResult),
) {
    for result in &mut results.cells {
        let cell = &results.plan.cells[result.cell];
        let name = &results.plan.deployments[0].arms[cell.arm].name;
        if name == arm && level.is_none_or(|at| at == cell.level) {
            change(result);
        }
    }
}

#[test]
fn equal_levels_are_compared_in_pairs() {
    let plan = fixture::plan();
    let seen = comparison(&fixture::results(&plan));
    let of = &seen.deployments[0];
    for (level, expected) in [("c1", -2.0), ("c50", 10.0), ("c300", 25.0)] {
        let delta = of.change("native-offload", "output_tokens_per_s", level).unwrap();
        let change = delta.change.as_ref().unwrap();
        assert!((change.percent - expected).abs() < 1e-9, "{level} {change:?}");
        // Repeats differ by 1 %, but pairs do not.
        assert!(change.interval.unwrap().half_width() < 1e-9);
        assert_eq!(change.pairs, 3);
        assert!(delta.distinguishable);
    }
    let aa = of.change("no-offload-aa", "output_tokens_per_s", "c50").unwrap();
    assert_eq!(aa.change.as_ref().unwrap().percent, 0.0);
    assert!(!aa.distinguishable);
    assert!(of.noise_floor.note.contains("identical in simulation"));
}

#[test]
fn a_change_is_the_ratio_of_the_figures_beside_it() {
    let mut plan = fixture::plan();
    plan.slo.ttft = Some(weir_model::Nanos::from_secs(2));
    let mut results = fixture::results(&plan);
    for (arm, goodput) in
        [("no-offload", [0.46, 1.10, 1.20]), ("native-offload", [1.72, 1.74, 1.73])]
    {
        edit(&mut results, arm, Some(2), |result| {
            let figures = &mut result.record.figures;
            let value = goodput[plan.cells[result.cell].repeat as usize];
            figures.goodput_requests_per_s = Some(value);
            figures.output_tokens_per_s = Some(1000.0 * value);
            figures.cost_per_million_output_tokens = Some(1.0 / value);
        });
    }
    let seen = comparison(&results);
    let of = &seen.deployments[0];
    for key in ["goodput_requests_per_s", "output_tokens_per_s", "cost_per_million_output_tokens"] {
        let mean = |arm: &str| of.group(arm, "c300").unwrap().metrics[key].mean;
        let expected = 100.0 * (mean("native-offload") / mean("no-offload") - 1.0);
        let change = of.change("native-offload", key, "c300").unwrap().change.clone().unwrap();
        assert!((change.percent - expected).abs() < 1e-9, "{key}: {change:?} {expected}");
    }
    let table = weir_report::tables::value_table(of);
    let cells: Vec<&str> = table.rows.iter().flatten().map(|cell| cell.text.as_str()).collect();
    // 1.73 / 0.92 = 1.88.
    assert!(cells.contains(&"0.920") && cells.contains(&"1.73"), "{cells:?}");
    assert!(cells.iter().any(|text| text.starts_with("+88.0 % ±")), "{cells:?}");
}

#[test]
fn each_table_says_what_its_changes_compare() {
    use weir_report::tables;
    let plan = fixture::plan();
    let seen = comparison(&fixture::results(&plan));
    let of = &seen.deployments[0];
    for table in [
        tables::level_table(of),
        tables::value_table(of),
        tables::compact_table(of),
        tables::equal_level_table(of, "native-offload", "no-offload"),
    ] {
        assert!(table.title.contains("same level"), "{}", table.title);
    }
    for table in [tables::peak_table(of), tables::overview_table(&seen)] {
        assert!(table.title.contains("peak"), "{}", table.title);
        assert!(!table.heads.iter().any(|head| head.text == "change"), "{:?}", table.heads);
    }
}

#[test]
fn short_windows_are_one_warning_with_their_levels() {
    use weir_model::Nanos;
    use weir_record::ShortWindow;
    let plan = fixture::plan();
    let mut results = fixture::results(&plan);
    for (arm, level, seconds) in
        [("no-offload", 1, 30), ("native-offload", 1, 25), ("no-offload", 2, 60)]
    {
        edit(&mut results, arm, Some(level), |result| {
            let request = Nanos::from_secs(seconds);
            let short = ShortWindow::of(Nanos::from_secs(100), request);
            assert!(short.is_some());
            result.evidence.as_mut().unwrap().short_window = short;
        });
    }
    // In a live run cells are in a random order.
    results.cells.reverse();
    let seen = comparison(&results);
    let told: Vec<&String> =
        seen.warnings.iter().filter(|warning| warning.contains("window")).collect();
    assert_eq!(
        told,
        [
            "The measured window is shorter than 5 mean requests at c50 (100 s, requests of 30.0 s), \
          c300 (100 s, requests of 60.0 s): lengthen the duration."
        ]
    );
}

/// Cells of a live run are in a random order; tables are not.
#[test]
fn results_are_told_in_the_plans_order() {
    let plan = fixture::plan();
    let mut results = fixture::results(&plan);
    let told = |results: &Results<'_>| -> Vec<usize> {
        results.in_order().iter().map(|result| result.cell).collect()
    };
    let expected = told(&results);
    results.cells.reverse();
    assert_eq!(told(&results), expected);
    let place = |cell: &usize| {
        let cell = &plan.cells[*cell];
        (cell.level, cell.arm, cell.repeat)
    };
    assert!(expected.is_sorted_by_key(place));
}

#[test]
fn means_have_intervals_over_repeats() {
    let plan = fixture::plan();
    let seen = comparison(&fixture::results(&plan));
    let group = seen.deployments[0].group("no-offload", "c300").unwrap();
    let tokens = group.metrics["output_tokens_per_s"];
    assert!((tokens.mean - 2424.0).abs() < 1e-9);
    // s = 24, n = 3: half width 4.302653 * 24 / sqrt(3).
    let half = tokens.interval.unwrap().half_width();
    assert!((half - 4.302_653 * 24.0 / 3.0_f64.sqrt()).abs() < 1e-4, "{half}");
}

#[test]
fn cells_that_do_not_count_enter_nothing() {
    let plan = fixture::plan();
    let mut results = fixture::results(&plan);
    // One failed repeat among the control's, with figures that would show.
    let failed = results.cells.iter_mut().find(|result| {
        let cell = &plan.cells[result.cell];
        (cell.arm, cell.level, cell.repeat) == (0, 1, 2)
    });
    let failed = failed.unwrap();
    failed.record.status = CellStatus::Failed(CellFailure::Error("out of memory".to_owned()));
    failed.record.figures.output_tokens_per_s = Some(ABSURD);
    let seen = comparison(&results);
    let of = &seen.deployments[0];

    let control = of.group("no-offload", "c50").unwrap();
    assert_eq!((control.counted, control.planned), (2, 3));
    assert!((control.metrics["output_tokens_per_s"].mean - 2010.0).abs() < 1e-9);
    let failed = FailureReason::Cell(CellFailure::Error("out of memory".to_owned()));
    let verdicts: Vec<&Verdict> = control.verdict.that_ran().collect();
    assert_eq!(verdicts, [&Verdict::Control, &Verdict::Control, &Verdict::Failed(failed)]);
    assert_eq!(control.verdict.words(), "2 x control, 1 x failed (out of memory)");
    let delta = of.change("native-offload", "output_tokens_per_s", "c50").unwrap();
    assert_eq!(delta.change.as_ref().unwrap().pairs, 2);
    assert!(delta.is_partial, "the arm's own mean has three repeats");
    assert!(!of.change("native-offload", "output_tokens_per_s", "c300").unwrap().is_partial);
    let table = weir_report::tables::level_table(of);
    let at = |level: &str| {
        let rows = table.rows.iter().skip_while(|row| row[0].text != "native-offload");
        rows.map(|row| &row[..]).find(|row| row[1].text == level).unwrap()[3].text.clone()
    };
    assert!(at("c50").ends_with("(2 pairs)") && !at("c300").contains("pair"), "{}", at("c50"));
    assert!(delta.note.starts_with("1 repeats left out"), "{}", delta.note);

    for arm in ["lmcache-redis", "llm-d-approx"] {
        assert!(of.groups.iter().filter(|group| group.arm == arm).all(|g| g.metrics.is_empty()));
        assert!(!of.deltas.iter().any(|delta| delta.arm == arm));
        let row = of.peaks.iter().find(|row| row.arm == arm).unwrap();
        assert!(row.peak.is_none() && row.change.is_none());
    }
    // No number of the void arms enters what is written from counted cells.
    let text = serde_json::to_string(&seen).unwrap();
    let largest = text
        .split(|c: char| !(c.is_ascii_digit() || ".e+-".contains(c)))
        .filter_map(|number| number.parse::<f64>().ok())
        .fold(0.0, f64::max);
    assert!(largest < ABSURD / 1e3, "{largest}");
}

#[test]
fn peaks_name_their_level() {
    let plan = fixture::plan();
    let mut results = fixture::results(&plan);
    edit(&mut results, "no-offload", Some(2), |result| {
        result.record.figures.output_tokens_per_s = Some(1500.0);
    });
    let seen = comparison(&results);
    let of = &seen.deployments[0];
    let native = of.peaks.iter().find(|row| row.arm == "native-offload").unwrap();
    assert_eq!(native.level.as_deref(), Some("c300"));
    assert_eq!(native.control_level.as_deref(), Some("c50"));
    assert!(native.note.contains("not comparable"), "{}", native.note);
    // 2424 * 1.25 over 2020.
    assert!((native.change.unwrap().percent - (3030.0 / 2020.0 - 1.0) * 100.0).abs() < 1e-9);
}

#[test]
fn an_arm_that_pays_from_a_level_on_is_recommended() {
    let plan = fixture::plan();
    insta::assert_snapshot!(sentence(&fixture::results(&plan)));
}

#[test]
fn steady_gains_come_before_a_single_peak() {
    let plan = fixture::plan();
    let mut results = fixture::results(&plan);
    edit(&mut results, "lmcache-redis", None, |result| {
        result.evidence.as_mut().unwrap().verdict = Verdict::Effective;
        let cell = &plan.cells[result.cell];
        let base = fixture::throughput("no-offload", cell.level, cell.repeat);
        result.record.figures.output_tokens_per_s = Some(base * 1.15);
    });
    edit(&mut results, "native-offload", Some(2), |result| {
        let cell = &plan.cells[result.cell];
        let base = fixture::throughput("no-offload", cell.level, cell.repeat);
        result.record.figures.output_tokens_per_s = Some(base * 0.88);
    });
    edit(&mut results, "native-offload", Some(1), |result| {
        let cell = &plan.cells[result.cell];
        let base = fixture::throughput("no-offload", cell.level, cell.repeat);
        result.record.figures.output_tokens_per_s = Some(base * 1.3);
    });
    let text = sentence(&results);
    let start = "Use lmcache-redis from 1 user: output throughput +15.0 % ± 0.0 over no-offload";
    assert!(text.starts_with(start), "{text}");
    assert!(text.contains("native-offload gives +30.0 % ± 0.0 at 50 users"), "{text}");
}

#[test]
fn losses_elsewhere_are_named() {
    let plan = fixture::plan();
    let mut results = fixture::results(&plan);
    edit(&mut results, "native-offload", Some(2), |result| {
        result.record.figures.output_tokens_per_s = Some(1200.0);
    });
    let text = sentence(&results);
    assert!(
        text.contains("No gain below or above; it lowers output throughput by 50.5 %"),
        "{text}"
    );
}

#[test]
fn one_repeat_says_so() {
    let plan = fixture::plan_of(fixture::deployment(), 1);
    let results = fixture::results(&plan);
    let text = sentence(&results);
    assert!(text.contains("one repeat: no interval") && !text.contains('±'), "{text}");
    assert!(comparison(&results).doubt.starts_with("One repeat: no interval"));
}

#[test]
fn batch_means_stand_in_for_repeats() {
    let plan = fixture::plan_of(fixture::deployment(), 1);
    let mut results = fixture::results(&plan);
    edit(&mut results, "no-offload", None, |result| {
        result.throughput_batches = vec![90.0, 110.0, 95.0, 105.0, 100.0, 100.0];
    });
    let seen = comparison(&results);
    let estimate =
        seen.deployments[0].group("no-offload", "c1").unwrap().metrics["output_tokens_per_s"];
    let interval = estimate.interval.unwrap();
    assert_eq!(interval.method, weir_report::statistics::Method::BatchMeans);
    assert!(interval.low < 100.0 && interval.high > 100.0);
}

#[test]
fn nothing_acted_says_why_and_what_to_change() {
    let plan = fixture::plan();
    let mut results = fixture::results(&plan);
    edit(&mut results, "native-offload", None, |result| {
        let evidence = result.evidence.as_mut().unwrap();
        evidence.verdict = Verdict::OverheadOnly(OverheadReason::FitsGpu);
        let eligible = TokenShare { part: 0.0, whole: 1e6 };
        let held = OffloadReason::FitsGpu { eligible, working_set: None };
        evidence.reason = Some(held.into());
        evidence.remedy = Some(Remedy::ExceedGpu);
    });
    insta::assert_snapshot!(sentence(&results));
}

#[test]
fn effective_without_gain_keeps_the_control() {
    let plan = fixture::plan();
    let mut results = fixture::results(&plan);
    edit(&mut results, "native-offload", None, |result| {
        result.record.figures.output_tokens_per_s = Some(100.0);
    });
    insta::assert_snapshot!(sentence(&results));
}

#[test]
fn a_gain_below_the_noise_floor_is_no_gain() {
    let plan = fixture::plan();
    let mut results = fixture::results(&plan);
    // The A/A arm differs by 30 % somewhere at c50 and by 12 % at c300.
    for (level, factor) in [(1, 1.3), (2, 0.88)] {
        edit(&mut results, "no-offload-aa", Some(level), |result| {
            let figures = &mut result.record.figures;
            let rate = figures.output_tokens_per_s;
            figures.output_tokens_per_s = rate.map(|rate| rate * factor);
            let cost = figures.cost_per_million_output_tokens;
            figures.cost_per_million_output_tokens = cost.map(|cost| cost / factor);
        });
    }
    let seen = comparison(&results);
    let decision = &seen.deployments[0].decision;
    assert_eq!(decision.recommended.len(), 1);
    assert_eq!(decision.recommended[0].from, "c300");
    assert!(decision.sentence.contains("No gain below"), "{}", decision.sentence);
    // In simulation this cannot be, and is said.
    assert!(seen.deployments[0].noise_floor.note.contains("defect"));
}

#[test]
fn open_loop_levels_are_decided_by_latency_or_goodput() {
    let mut deployment = fixture::deployment();
    for (level, rate) in deployment.levels.iter_mut().zip([1.0, 5.0, 10.0]) {
        level.load = LevelLoad::Poisson(rate);
        level.name = format!("r{rate}");
    }
    let mut plan = fixture::plan_of(deployment, 2);
    plan.slo.ttft = Some(weir_model::Nanos::from_secs(2));
    let results = fixture::results(&plan);
    assert_eq!(comparison(&results).deployments[0].deciding_metric, "goodput_requests_per_s");
    plan.slo = weir_spec::plan::Slo::default();
    let results = fixture::results(&plan);
    assert_eq!(comparison(&results).deployments[0].deciding_metric, "ttft_mean_ms");
    // TTFT falls, which is a gain.
    assert!(
        sentence(&results)
            .starts_with("Use native-offload from 5 sessions/s (Poisson): TTFT mean -"),
        "{}",
        sentence(&results)
    );
}

#[test]
fn an_overloaded_open_loop_is_warned_about_and_a_closed_one_is_not() {
    let mut deployment = fixture::deployment();
    deployment.levels[2].load = LevelLoad::Poisson(10.0);
    deployment.levels[2].name = "r10".to_owned();
    let plan = fixture::plan_of(deployment, 2);
    let mut results = fixture::results(&plan);
    for level in [1, 2] {
        edit(&mut results, "no-offload", Some(level), |result| {
            result.record.figures.measured = 100;
            result.record.figures.completed = 60;
            result.record.figures.open = 40;
        });
    }
    let seen = comparison(&results);
    let warned: Vec<&String> =
        seen.warnings.iter().filter(|text| text.contains("was asked than served")).collect();
    assert_eq!(warned.len(), 1, "{:?}", seen.warnings);
    assert!(
        warned[0].contains("at r10: ") && warned[0].contains("(no-offload 40 %)"),
        "{warned:?}"
    );
}

#[test]
fn routing_arms_are_compared_with_chance_and_with_the_control() {
    let mut deployment = fixture::deployment();
    deployment.arms[3] = fixture::arm("llm-d-random", ArmRole::RoutingControl);
    let plan = fixture::plan_of(deployment, 2);
    let mut results = fixture::results(&plan);
    for arm in ["llm-d-random", "llm-d-approx"] {
        edit(&mut results, arm, None, |result| {
            result.evidence.as_mut().unwrap().verdict =
                if arm == "llm-d-random" { Verdict::Control } else { Verdict::Effective };
            let factor = if arm == "llm-d-random" { 0.9 } else { 1.05 };
            let cell = &plan.cells[result.cell];
            result.record.figures.output_tokens_per_s =
                Some(fixture::throughput("no-offload", cell.level, cell.repeat) * factor);
        });
    }
    let seen = comparison(&results);
    let of = &seen.deployments[0];
    let controls: Vec<&str> = of
        .deltas
        .iter()
        .filter(|delta| delta.arm == "llm-d-approx" && delta.metric == "output_tokens_per_s")
        .map(|delta| delta.control.as_str())
        .collect();
    assert_eq!(controls, ["llm-d-random", "no-offload"]);
    assert!(
        of.decision.sentence.contains("Use llm-d-approx from 1 user: output throughput +16.7 %"),
        "{:?}",
        of.decision
    );
}

#[test]
fn figures_above_the_hardware_are_warned_about() {
    let plan = fixture::plan();
    let mut results = fixture::results(&plan);
    edit(&mut results, "no-offload", Some(2), |result| {
        result.record.figures.gpu_hit_percent = Some(0.0);
        result.record.figures.prompt_tokens_per_s = Some(207_000.0);
    });
    let seen = comparison(&results);
    // 2 * 6.95e9 weights of the layers * 207k = 2.9 PFLOP/s against 0.72.
    let warned = seen
        .warnings
        .iter()
        .filter(|text| text.contains("no-offload at c300 (3 cells)") && text.contains("4.0 times"));
    let warned = warned.count();
    assert_eq!(warned, 1, "{:?}", seen.warnings);
}

#[test]
fn results_that_do_not_fit_the_plan_are_refused() {
    let plan = fixture::plan();
    let mut results = fixture::results(&plan);
    results.cells[0].cell = 4000;
    assert!(matches!(Comparison::of(&results), Err(ResultsError::UnknownCell { .. })));
    results = fixture::results(&plan);
    results.cells.push(results.cells[3].clone());
    assert!(matches!(Comparison::of(&results), Err(ResultsError::Doubled { .. })));
    results = fixture::results(&plan);
    results.cells[0].record.path = "elsewhere".to_owned();
    assert!(matches!(Comparison::of(&results), Err(ResultsError::OtherPath { .. })));
    let mut broken = plan.clone();
    broken.cells[0].arm = 99;
    assert!(matches!(
        Comparison::of(&fixture_less(&broken)),
        Err(ResultsError::BrokenPlan { what: "arm", .. })
    ));
}

fn fixture_less(plan: &weir_spec::plan::Plan) -> Results<'_> {
    Results { plan, provenance: weir_report::results::Provenance::default(), cells: Vec::new() }
}

#[test]
fn a_run_that_has_not_started_has_no_figures_and_no_decision() {
    let plan = fixture::plan();
    let seen = comparison(&fixture_less(&plan));
    assert_eq!((seen.cells.planned, seen.cells.run, seen.cells.counted), (45, 0, 0));
    assert!(
        seen.deployments[0]
            .groups
            .iter()
            .all(|group| group.planned > 0 && group.verdict.that_ran().next().is_none())
    );
    assert!(seen.deployments[0].decision.recommended.is_empty());
}
