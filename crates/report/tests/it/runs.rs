//! Two runs compared.

use weir_report::comparison::compare_runs;
use weir_report::files::runs_csv;
use weir_report::terminal;

use crate::fixture;

#[test]
fn the_same_run_shows_no_change() {
    let plan = fixture::plan();
    let results = fixture::results(&plan);
    let seen = compare_runs(&results, &results).unwrap();
    assert!(seen.same_plan && seen.only_in_first.is_empty() && seen.only_in_second.is_empty());
    assert!(seen.deltas.iter().all(|delta| delta.change.as_ref().unwrap().percent == 0.0));
    // 3 counted arms x 3 levels x 8 compared metrics.
    assert_eq!(seen.deltas.len(), 3 * 3 * 8);
}

#[test]
fn a_slower_run_is_shown() {
    let plan = fixture::plan();
    let first = fixture::results(&plan);
    let mut other = fixture::plan();
    other.deployments[0].arms.remove(4);
    other.cells.retain(|cell| cell.arm != 4);
    let mut second = fixture::results(&other);
    second.provenance.run = "second-run".to_owned();
    second.provenance.plan_hash = "fedc".to_owned();
    for result in &mut second.cells {
        let cell = &other.cells[result.cell];
        if (cell.arm, cell.level) == (0, 1) {
            result.record.figures.output_tokens_per_s =
                result.record.figures.output_tokens_per_s.map(|rate| rate * 0.9);
        }
        if (cell.arm, cell.level) == (2, 2) {
            result.evidence.as_mut().unwrap().verdict = weir_model::Verdict::Unverified;
        }
    }
    let seen = compare_runs(&first, &second).unwrap();
    assert_eq!(seen.only_in_first.len(), 3);
    let text = terminal::runs(&seen, 1.0);
    insta::assert_snapshot!(text);
    let csv = String::from_utf8(runs_csv(&seen).unwrap()).unwrap();
    assert!(csv.lines().any(|line| line.contains("no-offload,c50,output_tokens_per_s,tok/s,2020")));
}

#[test]
fn other_repeats_and_seeds_are_said() {
    let (three, two) = (fixture::plan(), fixture::plan_of(fixture::deployment(), 2));
    let (first, second) = (fixture::results(&three), fixture::results(&two));
    let seen = compare_runs(&first, &second).unwrap();
    let of = |metric: &str| {
        let is_it = |of: &&weir_report::comparison::RunDelta| {
            of.metric == metric && of.arm == "no-offload" && of.level == "c50"
        };
        seen.deltas.iter().find(is_it).unwrap()
    };
    let tokens = of("output_tokens_per_s");
    // Repeats 0 and 1 have 2000 and 2020 tok/s; the third has 2040.
    assert_eq!((tokens.first, tokens.second), (Some(2010.0), Some(2010.0)));
    let change = tokens.change.as_ref().unwrap();
    assert_eq!((change.percent, change.pairs), (0.0, 2));
    let text = terminal::runs(&seen, 0.0);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected = "The first run has 3 repeats per cell, the second 2: means and changes are over \
                    the repeats that both have.";
    assert!(words.contains(expected), "{text}");

    let mut other = fixture::plan();
    other.seed += 1;
    for cell in &mut other.cells {
        cell.seed += 100;
    }
    let seen = compare_runs(&first, &fixture::results(&other)).unwrap();
    let words = terminal::runs(&seen, 0.0).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("The runs have different seeds (889 and 890)"), "{words}");
    let changes: Vec<_> = seen.deltas.iter().filter_map(|delta| delta.change.as_ref()).collect();
    assert!(changes.iter().all(|change| change.pairs == 0 && change.interval.is_none()));
}

/// A change from zero goodput has no ratio. A group that counts in neither run still names its
/// changed verdict; no row is empty.
#[test]
fn no_row_is_empty_and_money_has_its_currency() {
    let plan = fixture::plan();
    let first = fixture::results(&plan);
    let mut second = fixture::results(&plan);
    for result in &mut second.cells {
        let cell = &plan.cells[result.cell];
        let arm = &plan.deployments[0].arms[cell.arm].name;
        if arm == "lmcache-redis" {
            result.evidence.as_mut().unwrap().verdict = weir_model::Verdict::Unverified;
        }
        if arm == "no-offload" {
            let cost = &mut result.record.figures.cost_per_million_output_tokens;
            *cost = cost.map(|cost| cost * 2.0);
        }
    }
    let mut empty = fixture::results(&plan);
    for result in empty.cells.iter_mut().chain(&mut second.cells) {
        if plan.cells[result.cell].arm == 2 {
            result.record.figures.goodput_requests_per_s = Some(0.0);
        }
    }
    let seen = compare_runs(&first, &second).unwrap();
    let table = weir_report::tables::run_table(&seen, 1.0);
    let told = table.rows.iter().map(|row| row[2..].iter().map(|cell| cell.text.as_str()));
    for cells in told.map(Iterator::collect::<Vec<_>>) {
        assert!(
            !cells[3].is_empty() && (cells[0] != "verdict" || !cells[4].is_empty()),
            "{cells:?}"
        );
    }
    let text = terminal::runs(&seen, 1.0);
    let verdict = table.rows.iter().flatten().find(|cell| cell.text.starts_with("void ("));
    assert_eq!(verdict.unwrap().text, "void (no-operation) -> unverified");
    assert!(text.contains("Cost per 1M output tokens (USD)"), "{text}");
    // Zero in both runs is no change.
    let same = compare_runs(&empty, &empty).unwrap();
    assert!(weir_report::tables::run_table(&same, 0.5).is_empty());
}
