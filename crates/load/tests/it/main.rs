//! The generator against servers of threads: good ones, slow ones, and every kind of bad one.

// Clippy exempts tests by itself only inside `#[test]` functions, not in what they share.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

// Answers as servers really give them, and how their tokens are counted.
mod answers;
// A server that answers badly and vanishes.
mod faults;
// What is asked: bodies, heads, answers quoted later.
mod asked;
// When it is asked: closed and open loops, sessions, ends.
mod load;
// The same over TLS.
mod secure;
// The server that the tests script, and how they run a cell against it.
mod server;
// Reported times against the server's own log.
mod timing;
