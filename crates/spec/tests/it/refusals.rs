//! Bad input: one line that names the place and the remedy.

use crate::{SMALL, error};

fn with(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "the test's text has no `{from}`");
    SMALL.replacen(from, to, 1)
}

fn refused(from: &str, to: &str, message: &str) {
    assert_eq!(error(&with(from, to), &[]), message);
}

#[test]
fn unknown_keys_name_line_column_and_the_known_ones() {
    let text = with("duration: 10s", "durations: 10s");
    assert_eq!(
        error(&text, &[]),
        "test.yaml:8:20: unknown field `durations`, expected one of `users`, `constant`, \
         `poisson`, `gamma`, `trace`, `duration`, `warmup`, `max_requests`"
    );
}
