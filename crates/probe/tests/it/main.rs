//! Tests of the probe on real tiers.

// Clippy exempts only `#[test]` functions by itself, not their helpers.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod announced;
mod memory;
mod session;
