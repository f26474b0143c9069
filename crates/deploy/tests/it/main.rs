//! Tests with real processes, and on excerpts of real logs.

// Clippy exempts tests by itself only inside `#[test]` functions, not in what they share.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod fixture;
mod leftovers;
mod logs;
mod processes;
