//! Tests of the probe on real tiers.

// Clippy exempts tests by itself only inside `#[test]` functions, not in what they share.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod announced;
mod memory;
mod session;
