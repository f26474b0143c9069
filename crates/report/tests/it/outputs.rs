//! What is written: snapshots, and properties of whole files.

use weir_report::comparison::Comparison;
use weir_report::terminal;

use crate::fixture;

#[test]
fn the_terminal_fits_its_width() {
    let plan = fixture::plan();
    let seen = Comparison::of(&fixture::results(&plan)).unwrap();
    let text = terminal::summary(&seen);
    assert!(text.lines().all(|line| line.chars().count() <= 112), "{text}");
    insta::assert_snapshot!(text);
}
