//! Integration tests of the client side of HTTP.

// A failure in a test is a panic.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::format_push_string)]

mod chance;
mod events_equivalence;
mod fetch_faults;
mod fuzz;
mod plain_chunks;
mod plain_events;
mod response_equivalence;
mod tls_session;
