//! The decision, count by count; whole results are judged in `tests/it/oracle.rs`.

use super::*;

fn count(mismatches: u64, compared: u64) -> AnswerCount {
    AnswerCount { compared, mismatches, ..AnswerCount::default() }
}

fn outcome(seen: AnswerCount, floor: Option<(AnswerCount, AnswerCount)>) -> OutputOutcome {
    verdict(&seen, floor.map(|(here, worst)| Floor { here: Some(here), worst }), 6).0
}

#[test]
fn agreement_and_gross_corruption_are_told_apart() {
    let clean = Some((count(0, 60), count(0, 60)));
    assert_eq!(outcome(count(0, 60), clean), OutputOutcome::Agrees);
    assert_eq!(outcome(count(31, 60), clean), OutputOutcome::Corrupt);
    // Two of many can be chance, whatever the p value.
    assert_eq!(
        outcome(count(2, 100_000), Some((count(0, 1 << 30), count(0, 1 << 30)))),
        OutputOutcome::Agrees
    );
}

#[test]
fn a_noisy_floor_needs_more() {
    let noisy = Some((count(20, 60), count(20, 60)));
    assert_eq!(outcome(count(31, 60), noisy), OutputOutcome::Agrees);
    assert_eq!(outcome(count(58, 60), noisy), OutputOutcome::Corrupt);
}

/// At one user the control and its repeat run in lockstep; loading changes shapes as load does.
#[test]
fn the_worst_level_of_the_floor_counts_too() {
    let lockstep = (count(0, 60), count(24, 80));
    assert_eq!(outcome(count(18, 60), Some(lockstep)), OutputOutcome::Agrees);
    assert_eq!(outcome(count(18, 60), Some((count(0, 60), count(0, 80)))), OutputOutcome::Corrupt);
}

#[test]
fn few_percent_above_a_clean_floor_are_shown_and_not_condemned() {
    let clean = Some((count(0, 1000), count(0, 1000)));
    assert_eq!(outcome(count(40, 1000), clean), OutputOutcome::AboveFloor);
    assert_eq!(outcome(count(120, 1000), clean), OutputOutcome::Corrupt);
}

#[test]
fn without_floor_the_allowance_decides() {
    assert_eq!(outcome(count(40, 1000), None), OutputOutcome::Agrees);
    assert_eq!(outcome(count(120, 1000), None), OutputOutcome::Corrupt);
    assert_eq!(outcome(count(3, 20), None), OutputOutcome::Agrees);
}

#[test]
fn the_more_is_judged_the_more_is_asked() {
    let floor = Some(Floor { here: Some(count(0, 20)), worst: count(0, 20) });
    // 10 of 20 against 0 of 20: p is 1.2e-4 alone.
    assert_eq!(verdict(&count(10, 20), floor, 1).0, OutputOutcome::Corrupt);
    assert_eq!(verdict(&count(10, 20), floor, 20).0, OutputOutcome::Agrees);
}
