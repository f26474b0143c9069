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
