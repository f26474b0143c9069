// Clippy exempts tests by itself only inside `#[test]` functions, not in what they share.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod cells;
mod damage;
mod disk_full;
mod readme;
mod rows;
mod runs;
mod sample;
