//! The generator against threaded servers with and without faults.

// Clippy exempts tests by itself only inside `#[test]` functions, not in what they share.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod answers;
// Servers with faults.
mod faults;
// Requests: bodies, heads, quoted answers.
mod asked;
mod load;
mod secure;
mod server;
mod shards;
mod timing;
