//! Integration tests of the live server.

// Clippy exempts tests by itself only inside `#[test]` functions, not in what they share.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod clients;
mod fixture;
mod host_tier;
mod interner;
mod live_equals_simulated;
mod mover;
mod refusals;
mod vanishing;
mod wire;
