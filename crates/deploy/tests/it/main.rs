//! Tests with real processes, and on excerpts of real logs.

// Clippy exempts tests by itself only inside `#[test]` functions, not in what they share.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

/// Small processes to watch and to end.
mod fixture;
/// What a killed Weir leaves.
mod leftovers;
mod logs;
/// Processes that are watched and ended.
mod processes;
