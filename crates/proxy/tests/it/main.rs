//! Integration tests of the proxy: real sockets, Weir's own engines behind it.

#![expect(clippy::print_stdout, reason = "what is skipped says so")]

mod events;
mod faults;
mod fixture;
mod passing;
mod routing;
mod stored;
